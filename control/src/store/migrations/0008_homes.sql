-- Relays where a peer can be found, home first.

ALTER TABLE peers ADD COLUMN relays TEXT NOT NULL DEFAULT '[]';
