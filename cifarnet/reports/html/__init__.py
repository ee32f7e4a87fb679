"""Self-contained HTML pages, rendered from the templates in ``templates/``."""
