//! Tries several ways to one thing, and takes the first that leads there (RFC 8305 §5).
//!
//! ```text
//! first ─ 250 ms, or it failed ─▶ second beside it ─ … ─▶ the first success; the others are given up
//! ```

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

/// The next way is tried beside those under way after this (RFC 8305 §8).
const NEXT: Duration = Duration::from_millis(250);

/// Gives what the first way leads to that leads anywhere, and which one that is; else, why each of them failed, in their
/// order.
pub(crate) async fn race<F, T, E>(ways: Vec<F>) -> Result<(usize, T), Vec<E>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut waiting = ways.into_iter().enumerate();
    let (mut running, mut failed) = (JoinSet::new(), Vec::new());
    loop {
        if let Some((at, way)) = waiting.next() {
            running.spawn(async move { (at, way.await) });
        }
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(Ok((at, Ok(reached)))) => return Ok((at, reached)),
                Some(Ok((at, Err(why)))) => failed.push((at, why)),
                // A way that panicked has said so.
                Some(Err(_)) => {}
                None => break,
            },
            () = sleep(NEXT), if waiting.len() > 0 => {}
        }
    }
    failed.sort_by_key(|(at, _)| *at);
    Err(failed.into_iter().map(|(_, why)| why).collect())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::Either;
    use tokio::time::timeout;

    use super::*;

    /// Longer than any race here takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn ways_that_lead_nowhere_are_passed_by() {
        let silent = || Either::Left(pending::<Result<u64, u64>>());
        let ways = vec![silent(), silent(), Either::Right(ready(Ok(3)))];
        assert_eq!(timeout(PATIENCE, race(ways)).await, Ok(Ok((2, 3))));
    }

    #[tokio::test]
    async fn a_way_that_fails_makes_room_at_once() {
        // At a quarter of a second each they would take a minute.
        let failing = (0..240).map(|n| ready(Err(n)));
        let ways: Vec<_> = failing.chain([ready(Ok(7))]).collect();
        assert_eq!(timeout(PATIENCE, race(ways)).await, Ok(Ok((240, 7))));
    }

    #[tokio::test]
    async fn the_first_to_lead_there_wins_though_another_began_meanwhile() {
        let slow = async {
            sleep(NEXT * 2).await;
            Ok::<u64, u64>(1)
        };
        let ways = vec![Either::Left(slow), Either::Right(pending())];
        assert_eq!(timeout(PATIENCE, race(ways)).await, Ok(Ok((0, 1))));
    }

    #[tokio::test]
    async fn where_all_fail_each_tells_why_in_order() {
        let late = async {
            sleep(NEXT * 2).await;
            Err::<u64, u64>(1)
        };
        let ways = vec![Either::Left(late), Either::Right(ready(Err(2)))];
        assert_eq!(race(ways).await, Err(vec![1, 2]));
        assert_eq!(race(Vec::<std::future::Ready<Result<u64, u64>>>::new()).await, Err(Vec::new()));
    }
}
