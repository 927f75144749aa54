-- Since when a node has been found at an end, so that it can be forgotten.

ALTER TABLE nodes ADD COLUMN ended_ms INTEGER;
