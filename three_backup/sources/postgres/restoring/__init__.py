"""The restore of tables: lay out files, revive them on a scratch server, move the rows."""
