//! What control keeps on disk: the last row of each key, loaded table by table as the real store does.

use std::collections::BTreeMap;

use lacis_control_core::{Row, State};

/// Tables in the order in which they are loaded.
type Key = (u8, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    rows: BTreeMap<Key, Row>,
}

impl Store {
    pub(crate) fn commit(&mut self, rows: &[Row]) {
        for row in rows {
            self.write(row);
        }
    }

    pub(crate) fn load(&self) -> State {
        let mut state = State::default();
        state.apply(self.rows.values().cloned());
        state
    }

    fn write(&mut self, row: &Row) {
        let key = match row {
            Row::Owner(row) => (1, row.id.to_string()),
            Row::Group(row) => (2, row.id.to_string()),
            Row::Node(row) => (3, row.id.to_string()),
            Row::Member(row) => (4, format!("{} {}", row.group, row.id)),
            Row::Grant(row) => (5, format!("{} {} {}", row.node, row.group, row.member)),
            Row::Peer(row) => (6, row.id.to_string()),
            Row::Statement(said) => (12, said.statement.peer.to_string()),
            Row::StatementGone(_, id) => return self.delete(12, id.as_str()),
            Row::Released(row) => (7, format!("{} {}", row.group, row.host)),
            Row::Tombstone(row) => (8, format!("{} {}", row.scope, row.record)),
            Row::JoinToken(row) => (9, row.id.to_string()),
            Row::JoinUse(row) => (10, format!("{} {}", row.token, row.identity)),
            Row::ApiToken(row) => (11, row.id.to_string()),
            Row::Departed(row) => (13, format!("{} {}", row.group, row.key)),
            Row::DepartedForgotten(before_ms) => {
                return self
                    .rows
                    .retain(|_, row| !matches!(row, Row::Departed(row) if row.at_ms < *before_ms));
            }
            Row::Audit(_) | Row::AuditGone(_) => return,
            Row::NodeGone(id) => return self.delete(3, id.as_str()),
            // Loaded after the groups, so that none of them is dropped again.
            Row::GroupGone(row) => {
                self.delete(2, row.id.as_str());
                (1, format!("gone {}", row.id))
            }
            Row::GroupBack(id) => return self.delete(1, &format!("gone {id}")),
            Row::JoinTokenGone(id) => return self.delete(9, id.as_str()),
            Row::JoinUseGone(token, identity) => return self.delete(10, &format!("{token} {identity}")),
            Row::ApiTokenGone(id) => return self.delete(11, id.as_str()),
            Row::MemberGone(group, id) => return self.delete(4, &format!("{group} {id}")),
            Row::GrantGone(node, group, member) => {
                return self.delete(5, &format!("{node} {group} {member}"));
            }
            Row::PeerGone(_, id) => return self.delete(6, id.as_str()),
            Row::Taken(group, host) => return self.delete(7, &format!("{group} {host}")),
            Row::Revived(scope, record) => return self.delete(8, &format!("{scope} {record}")),
            Row::Forgotten(scope, floor) => {
                return self.rows.retain(|_, row| {
                    !matches!(row, Row::Tombstone(row) if row.scope == *scope && row.revision <= *floor)
                });
            }
        };
        self.rows.insert(key, row.clone());
    }

    fn delete(&mut self, table: u8, key: &str) {
        self.rows.remove(&(table, key.to_owned()));
    }
}
