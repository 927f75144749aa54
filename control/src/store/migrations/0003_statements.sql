-- What nodes state of the keys of their peers, as they signed it (JSON); control only passes it on.

CREATE TABLE statements (
    peer_id  TEXT PRIMARY KEY,
    group_id TEXT NOT NULL,
    said     TEXT NOT NULL
) STRICT;
