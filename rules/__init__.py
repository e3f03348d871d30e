"""What the auditor knows of trading code: a folder is a chapter of the report, a file is a rule."""
