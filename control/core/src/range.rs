//! Ranges of groups: which pool a client may choose, and how one may change.

use ipnetwork::Ipv4Network;
use lacis_proto::{Code, GroupId, OwnerId, Problem, check_pool};

use crate::{State, state::Group};

/// Checks a pool that a client chose. Groups of other owners are not looked at, so that an answer tells
/// nothing of them; a node that is in both refuses the second by itself.
pub(crate) fn check_new(
    state: &State,
    owner: &OwnerId,
    own: Option<&GroupId>,
    pool: Ipv4Network,
) -> Result<(), Problem> {
    check_pool(pool)
        .map_err(|wrong| Problem::new(Code::BadRequest, wrong.to_string()).in_field("networkIp"))?;
    let mut others = state.groups().filter(|group| group.row.owner == *owner && Some(&group.row.id) != own);
    if let Some(other) = others.find(|group| group.row.pool.overlaps(pool)) {
        let message = format!(
            "{pool} overlaps {} of group {:?} ({}); a node could not be in both, so choose another range",
            other.row.pool, other.row.label, other.row.id
        );
        return Err(Problem::new(Code::RangeOverlaps, message).in_field("networkIp"));
    }
    Ok(())
}

/// Checks that a group's pool may become another one: only a larger one with the same base keeps every
/// address as it is (DESIGN ruling 5).
pub(crate) fn check_change(state: &State, held: &Group, pool: Ipv4Network) -> Result<(), Problem> {
    let (row, now) = (&held.row, held.row.pool);
    check_new(state, &row.owner, Some(&row.id), pool)?;
    if pool.network() == now.network() && pool.prefix() < now.prefix() {
        return Ok(());
    }
    let message = format!(
        "the range of group {:?} is {now} and can only grow from its base address, as to {}/{}: {pool} would \
         change the addresses of its peers; make a new group for it",
        row.label,
        now.network(),
        now.prefix().saturating_sub(1)
    );
    Err(Problem::new(Code::RangeFixed, message).in_field("networkIp"))
}
