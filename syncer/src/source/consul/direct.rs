//! One service on a connection of its own, by blocking queries: the fastest way there is, for the few that get it.

use std::sync::Arc;

use super::Reader;
use super::read::{self, Consistency};
use crate::backoff::Backoff;
use crate::rate::Bucket;
use crate::source::blocking::{Cursor, PACE};

/// Follows one service; ends when it is gone and not named in the config file.
pub(super) async fn follow(reader: Reader, name: Arc<str>) -> Arc<str> {
    let (mut cursor, mut backoff, mut pace) =
        (Cursor::default(), Backoff::default(), Bucket::new(PACE));
    // The highest index so far, beyond failures.
    let mut mark = None;
    loop {
        let answer = read::health(&reader.http, &name, Consistency::of(cursor)).await;
        match answer.and_then(|(read, answer)| reader.unless_hidden(&name, read, answer)) {
            Ok((_, answer)) if cursor.is_after(read::index(&answer)) => {
                cursor = Cursor::default();
                tokio::time::sleep(pace.take()).await;
            }
            Ok((service, answer)) => {
                backoff.reset();
                let index = read::index(&answer);
                cursor = cursor.after(Some(index));
                let gone = reader.take(&name, service, &answer, mark, answer.arrived);
                mark = Some(index);
                if gone {
                    return name;
                }
                tokio::time::sleep(pace.take()).await;
            }
            Err(error) => {
                reader.fail(&name, &error);
                cursor = Cursor::default();
                tokio::time::sleep(backoff.fail()).await;
            }
        }
    }
}
