-- Keys that are out of a group, as long as a relay may be shown a token of theirs.

CREATE TABLE departures (
    group_id TEXT    NOT NULL,
    wg_key   BLOB    NOT NULL,
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (group_id, wg_key)
) STRICT;
