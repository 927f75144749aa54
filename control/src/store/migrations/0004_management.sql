-- What API tokens may do and until when, whose a node is, who did what, and what is left of deleted groups.

ALTER TABLE api_tokens ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN access TEXT NOT NULL DEFAULT 'write' CHECK (access IN ('read', 'write'));
ALTER TABLE api_tokens ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_tokens ADD COLUMN expires_ms INTEGER;
ALTER TABLE api_tokens ADD COLUMN last_used_ms INTEGER;

ALTER TABLE nodes ADD COLUMN owner_id TEXT REFERENCES owners (id);
UPDATE nodes SET owner_id = (
    SELECT min(groups.owner_id) FROM grants JOIN groups ON groups.id = grants.group_id
    WHERE grants.node_id = nodes.id
);

ALTER TABLE audit ADD COLUMN actor TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_by_time ON audit (at_ms);

CREATE TABLE deleted_groups (
    id         TEXT    PRIMARY KEY,
    revision   INTEGER NOT NULL,
    deleted_ms INTEGER NOT NULL
) STRICT;
