-- Peers without an agent: no node, and no key until one is given. SQLite cannot drop a NOT NULL, so the
-- table is made anew; nothing refers to it.

CREATE TABLE peers_2 (
    id            TEXT    PRIMARY KEY,
    group_id      TEXT    NOT NULL REFERENCES groups (id),
    member_id     TEXT    NOT NULL,
    node_id       TEXT    REFERENCES nodes (id),
    instance      TEXT    NOT NULL,
    host          INTEGER NOT NULL,
    wg_key        BLOB,
    label         TEXT    NOT NULL,
    hostname      TEXT,
    parent_event  TEXT,
    endpoints     TEXT    NOT NULL,
    revision      INTEGER NOT NULL,
    node_revision INTEGER NOT NULL,
    UNIQUE (group_id, host),
    UNIQUE (group_id, wg_key),
    UNIQUE (group_id, node_id),
    UNIQUE (group_id, member_id, instance)
) STRICT;

INSERT INTO peers_2 (id, group_id, member_id, node_id, instance, host, wg_key, label, endpoints, revision,
    node_revision)
SELECT id, group_id, member_id, node_id, instance, host, wg_key, label, endpoints, revision, node_revision
FROM peers;

DROP TABLE peers;

ALTER TABLE peers_2 RENAME TO peers;
