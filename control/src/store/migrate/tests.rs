//! Databases of earlier formats open, with all that they hold.

use lacis_control_core::Row;

use super::*;
use crate::store::Store;

/// What a control of format 1 had written: a group with a member, and a node that runs its peer.
const FORMAT_1: &str = "
    INSERT INTO installation VALUES (1, '00000000000000000000000000000000', 7, 3, 0);
    INSERT INTO owners VALUES ('orga_00000000-0000-4000-8000-000000000001', 'owner');
    INSERT INTO groups VALUES ('ng_00000000-0000-4000-8000-000000000001',
        'orga_00000000-0000-4000-8000-000000000001', 'main', '', '[]', '10.128.0.0/16', 'fd00::/64',
        '[\"lacis.internal\"]', 3, 1, 0, 6, 0);
    INSERT INTO nodes VALUES ('node_00000000-0000-4000-8000-000000000001',
        x'0101010101010101010101010101010101010101010101010101010101010101', 'web', 'active', 2, 1, 0);
    INSERT INTO members VALUES ('ng_00000000-0000-4000-8000-000000000001', 'app_1', 'APPLICATION', 'app_1',
        'app_1.m.ng.lacis.internal', NULL, 2);
    INSERT INTO grants VALUES ('node_00000000-0000-4000-8000-000000000001',
        'ng_00000000-0000-4000-8000-000000000001', 'app_1', 0);
    INSERT INTO peers VALUES ('00000000-0000-4000-8000-000000000001', 'ng_00000000-0000-4000-8000-000000000001',
        'app_1', 'node_00000000-0000-4000-8000-000000000001', 'i', 5,
        x'0202020202020202020202020202020202020202020202020202020202020202', 'web-1', '[]', 3, 2);";

#[tokio::test]
async fn a_database_of_the_first_format_opens_with_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for sql in [TABLE, MIGRATIONS[0], "INSERT INTO migrations VALUES (1, 0)", FORMAT_1] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();

    for _ in 0..2 {
        let mut store = Store::open(&path).await.unwrap();
        let loaded = store.load().await.unwrap();
        let peer = loaded.rows.iter().find_map(|row| if let Row::Peer(row) = row { Some(row) } else { None });
        let peer = peer.unwrap();
        assert_eq!((peer.host.0, peer.key.is_some(), peer.node.is_some()), (5, true, true));
        assert_eq!(loaded.change, 3);
        store.close().await;
    }
}
