"""From finished runs to tables, figures and verdicts; everything here reads files and never trains."""
