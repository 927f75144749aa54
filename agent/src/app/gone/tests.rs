use lacis_proto::{GroupId, PeerId};

use super::*;

fn group(n: u8) -> GroupId {
    GroupId::from_random([n; 16])
}

fn goes(gone: &mut Vec<GoneGroup>, n: u8, why: GoneWhy) {
    note(gone, &Notice::GroupGone { group: group(n), label: format!("g{n}"), why }, n.into());
}

#[test]
fn a_group_is_remembered_until_the_node_is_back_in_it_or_has_left_it() {
    let mut gone = Vec::new();
    goes(&mut gone, 1, GoneWhy::Removed);
    goes(&mut gone, 2, GoneWhy::NodeRevoked);
    goes(&mut gone, 2, GoneWhy::GroupDeleted);
    assert_eq!(gone.iter().map(|gone| gone.label.as_str()).collect::<Vec<_>>(), ["g1", "g2"]);
    assert!(gone[1].why.contains("deleted"));
    goes(&mut gone, 1, GoneWhy::Left);
    note(&mut gone, &Notice::GroupUp { group: group(2), peer: PeerId::from_random([1; 16]) }, 9);
    assert!(gone.is_empty());
}

#[test]
fn only_the_last_groups_are_remembered() {
    let mut gone = Vec::new();
    for n in 0..100 {
        goes(&mut gone, n, GoneWhy::Removed);
    }
    assert_eq!((gone.len(), gone[0].id.clone()), (MAX_GONE, group(84)));
}
