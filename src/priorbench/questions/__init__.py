"""Answers to questions: from the tables of one experiment to a verdict, a table and a figure each."""
