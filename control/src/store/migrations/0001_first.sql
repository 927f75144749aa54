-- One row per scope, record and token; a scope's `revision` is the highest among what it holds.
-- Types are those that PostgreSQL has under other names: INTEGER is BIGINT, BLOB is BYTEA there.

CREATE TABLE installation (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    control_id TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    change     INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE owners (
    id    TEXT PRIMARY KEY,
    label TEXT NOT NULL
) STRICT;

CREATE TABLE groups (
    id              TEXT    PRIMARY KEY,
    owner_id        TEXT    NOT NULL REFERENCES owners (id),
    label           TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    tags            TEXT    NOT NULL,
    pool            TEXT    NOT NULL,
    prefix6         TEXT    NOT NULL UNIQUE,
    suffixes        TEXT    NOT NULL,
    revision        INTEGER NOT NULL,
    record_revision INTEGER NOT NULL,
    floor           INTEGER NOT NULL,
    next_host       INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    id              TEXT    PRIMARY KEY,
    identity        BLOB    NOT NULL UNIQUE,
    label           TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('active', 'revoked')),
    revision        INTEGER NOT NULL,
    record_revision INTEGER NOT NULL,
    floor           INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    group_id TEXT    NOT NULL REFERENCES groups (id),
    id       TEXT    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('APPLICATION', 'ADDON', 'EXTERNAL')),
    label    TEXT    NOT NULL,
    domain   TEXT    NOT NULL,
    of_node  TEXT    REFERENCES nodes (id),
    revision INTEGER NOT NULL,
    PRIMARY KEY (group_id, id)
) STRICT;

CREATE TABLE grants (
    node_id   TEXT    NOT NULL REFERENCES nodes (id),
    group_id  TEXT    NOT NULL REFERENCES groups (id),
    member_id TEXT    NOT NULL,
    issued_ms INTEGER NOT NULL,
    PRIMARY KEY (node_id, group_id, member_id)
) STRICT;

CREATE TABLE peers (
    id            TEXT    PRIMARY KEY,
    group_id      TEXT    NOT NULL REFERENCES groups (id),
    member_id     TEXT    NOT NULL,
    node_id       TEXT    NOT NULL REFERENCES nodes (id),
    instance      TEXT    NOT NULL,
    host          INTEGER NOT NULL,
    wg_key        BLOB    NOT NULL,
    label         TEXT    NOT NULL,
    endpoints     TEXT    NOT NULL,
    revision      INTEGER NOT NULL,
    node_revision INTEGER NOT NULL,
    UNIQUE (group_id, host),
    UNIQUE (group_id, wg_key),
    UNIQUE (group_id, node_id),
    UNIQUE (group_id, member_id, instance)
) STRICT;

CREATE TABLE tombstones (
    scope_id  TEXT    NOT NULL,
    record_id TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    PRIMARY KEY (scope_id, record_id)
) STRICT;

CREATE TABLE released_hosts (
    group_id    TEXT    NOT NULL REFERENCES groups (id),
    host        INTEGER NOT NULL,
    released_ms INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    PRIMARY KEY (group_id, host)
) STRICT;

CREATE TABLE join_tokens (
    id          TEXT    PRIMARY KEY,
    secret_hash BLOB    NOT NULL,
    group_id    TEXT    NOT NULL REFERENCES groups (id),
    member_id   TEXT,
    max_uses    INTEGER NOT NULL,
    uses        INTEGER NOT NULL,
    expires_ms  INTEGER,
    revoked     INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE join_uses (
    token_id  TEXT NOT NULL REFERENCES join_tokens (id),
    identity  BLOB NOT NULL,
    member_id TEXT NOT NULL,
    PRIMARY KEY (token_id, identity)
) STRICT;

CREATE TABLE api_tokens (
    id          TEXT    PRIMARY KEY,
    secret_hash BLOB    NOT NULL,
    owner_id    TEXT    NOT NULL REFERENCES owners (id),
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    scope_id TEXT,
    revision INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_scope ON audit (scope_id, revision);
