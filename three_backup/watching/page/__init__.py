"""A page that shows how everything stands: one file, for a browser, without any script."""

from three_backup.watching.page.publishing import Page

__all__ = ["Page"]
