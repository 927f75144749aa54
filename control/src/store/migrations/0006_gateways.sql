-- The key by which plain clients know the gateways of a group, and what each peer has to do with being one.

ALTER TABLE groups ADD COLUMN gateway_key BLOB;

ALTER TABLE peers ADD COLUMN gateway_chosen INTEGER;
ALTER TABLE peers ADD COLUMN gateway_offered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peers ADD COLUMN gateway_key BLOB;
ALTER TABLE peers ADD COLUMN gateway_endpoint TEXT;
ALTER TABLE peers ADD COLUMN gateway_told_endpoint TEXT;
