"""What priorbench's own engine is timed against; not part of the installed package."""
