"""Reports: tables for a terminal, HTML pages and figures, made from plain data and training events."""
