//! Owners: organisations and persons that groups belong to, made by whoever runs control.

use lacis_proto::{Code, OwnerId, Problem};

use crate::{
    Decision, Reply,
    decision::Effects,
    limits,
    row::{OwnerRow, Row},
    text,
};

/// A new owner, or another label for one that is there.
pub(crate) fn put(mut fx: Effects<'_>, id: Option<&OwnerId>, label: &str) -> Result<Decision, Problem> {
    text::check_label(label, "label")?;
    let known = id.and_then(|id| fx.state.owner(id));
    if known.is_none() && fx.state.owners.len() >= limits::MAX_OWNERS {
        let message = format!("this installation has {} owners, the most it may", limits::MAX_OWNERS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let id = id.cloned().unwrap_or_else(|| OwnerId::from_random(fx.random.draw()));
    let row = OwnerRow { id, label: label.to_owned() };
    if known == Some(&row) {
        return Ok(fx.unchanged(Reply::Owner(row)));
    }
    let (reply, target) = (Reply::Owner(row.clone()), row.id.to_string());
    fx.row(Row::Owner(row));
    Ok(fx.finish(reply, "owner.put", &target))
}
