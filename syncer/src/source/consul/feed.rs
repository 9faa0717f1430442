//! The lists that say what changed: names of services with their tags, and checks that do not pass.
//!
//! Each is one blocking query after the other, on a connection of its own. They trigger reads and decide nothing: what
//! is missing from them takes nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use syncer_core::tags::concern_us;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::read::{self, Consistency};
use crate::backoff::Backoff;
use crate::http::{Answer, Http, HttpError};
use crate::rate::Bucket;
use crate::source::blocking::{Cursor, PACE};
use crate::source::consul_json::{CheckEntry, ServiceNames};
use crate::source::lenient::{self, Field};

/// How many bytes of lists a second are asked for when they do not end to change: a list of ten thousand names is 1 MB.
const BYTES_PER_SECOND: f64 = 4_000_000.0;

/// What a list says.
#[derive(Debug)]
pub(super) enum News {
    Names(Names),
    Checks(Checks),
    Failed(Feed, HttpError),
}

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feed {
    Names,
    Critical,
    Warning,
}

impl Feed {
    fn path(self) -> &'static str {
        match self {
            Self::Names => "/v1/catalog/services",
            Self::Critical => "/v1/health/state/critical",
            Self::Warning => "/v1/health/state/warning",
        }
    }
}

/// Tags by service, in order and none twice.
pub(super) type Tagged = BTreeMap<Arc<str>, Box<[Box<str>]>>;

/// The list of services.
#[derive(Debug)]
pub(super) struct Names {
    /// Services with a tag that is meant for us, and their tags.
    pub(super) tagged: Tagged,
    /// Whether not one service is listed, not even Consul's own, and no ACL hides any.
    pub(super) is_blank: bool,
    pub(super) index: u64,
    pub(super) arrived: Instant,
}

/// The list of checks that are critical, or warn.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) feed: Feed,
    pub(super) failing: BTreeSet<Failing>,
    pub(super) arrived: Instant,
}

/// One such check: whose it is, and when it changed last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Failing {
    pub(super) node: Arc<str>,
    pub(super) check: String,
    /// Empty: the node's.
    pub(super) service: String,
    modified: i64,
}

/// Follows one list as long as somebody listens.
pub(super) async fn follow(http: Http, feed: Feed, news: mpsc::Sender<News>) {
    let (mut cursor, mut backoff, mut pace) =
        (Cursor::default(), Backoff::default(), Bucket::new(PACE));
    loop {
        let (entry, wait) = match list(&http, feed, cursor).await {
            // It speaks of the past, or of another history: whoever has to say is asked.
            Ok((_, answer)) if cursor.is_after(read::index(&answer)) => {
                cursor = Cursor::default();
                (None, pace.take())
            }
            Ok((entry, answer)) => {
                backoff.reset();
                cursor = cursor.after(Some(read::index(&answer)));
                (Some(entry), pace.take().max(cost(&answer)))
            }
            Err(error) => {
                cursor = Cursor::default();
                (Some(News::Failed(feed, error)), backoff.fail())
            }
        };
        if let Some(entry) = entry
            && news.send(entry).await.is_err()
        {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

fn cost(answer: &Answer) -> Duration {
    let bytes = u32::try_from(answer.body.len()).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(bytes) / BYTES_PER_SECOND)
}

async fn list(http: &Http, feed: Feed, cursor: Cursor) -> Result<(News, Answer), HttpError> {
    let answer = read::ask(http, feed.path(), Consistency::of(cursor)).await?;
    let news = match feed {
        Feed::Names => News::Names(names(&answer, feed.path())?),
        Feed::Critical | Feed::Warning => News::Checks(Checks {
            feed,
            failing: failing(&answer, feed.path())?,
            arrived: answer.arrived,
        }),
    };
    Ok((news, answer))
}

fn names(answer: &Answer, path: &str) -> Result<Names, HttpError> {
    let names: ServiceNames = lenient::read(answer, path)?;
    let is_blank = names.is_empty() && !read::is_filtered(answer);
    let tagged = names
        .into_iter()
        .filter(|(_, tags)| concern_us(tags.values().map(String::as_str)))
        .map(|(name, tags)| {
            let tags: BTreeSet<&String> = tags.values().collect();
            let tags = tags.into_iter().map(|tag| tag.as_str().into());
            (Arc::from(name), tags.collect())
        });
    Ok(Names {
        tagged: tagged.collect(),
        is_blank,
        index: read::index(answer),
        arrived: answer.arrived,
    })
}

fn failing(answer: &Answer, path: &str) -> Result<BTreeSet<Failing>, HttpError> {
    let checks: Vec<Field<CheckEntry>> = lenient::read(answer, path)?;
    let checks = checks.iter().filter_map(Field::value);
    Ok(checks
        .map(|check| Failing {
            node: Arc::from(check.node.text()),
            check: check.id.text().to_owned(),
            service: check.service_name.text().to_owned(),
            modified: check.modify_index.value().map_or(0, |index| index.0),
        })
        .collect())
}
