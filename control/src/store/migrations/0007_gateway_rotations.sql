-- How often the gateway key of a group was retired.

ALTER TABLE groups ADD COLUMN gateway_rotations INTEGER NOT NULL DEFAULT 0;
