"""What every part stands on: settings, database, errors, web, access. Imports nothing else of ours."""
