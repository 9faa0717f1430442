//! One question to Consul and what makes its answer one to believe.
//!
//! A server that starts again answers from its past while it replays its log: with states that were, under indexes that
//! we have seen pass. So whatever is asked for the first time, after a failure, or after an index that went back, is asked
//! *consistently*: by a leader that has all of its log.

use std::fmt::Write;
use std::time::Duration;

use syncer_core::model::catalog::CatalogService;

use crate::http::{Answer, Http, HttpError};
use crate::source::blocking::{Cursor, LIMIT};
use crate::source::consul_json::{Entries, service};
use crate::source::lenient;

/// How long a read may take that does not block.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A service as it is, and the answer that says so.
pub(super) type Read = Result<(CatalogService, Answer), HttpError>;

/// How an answer comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// Whoever is the leader, or believes to be, answers.
    Default,
    /// A leader that has asked the others answers.
    Consistent,
    /// The answer comes as soon as there is something newer.
    Blocking(Cursor),
}

impl Consistency {
    /// Blocks where there is something to block on.
    pub(super) fn of(cursor: Cursor) -> Self {
        if cursor == Cursor::default() {
            Self::Consistent
        } else {
            Self::Blocking(cursor)
        }
    }
}

/// An answer of a cluster that has a leader.
pub(super) async fn ask(
    http: &Http,
    path: &str,
    consistency: Consistency,
) -> Result<Answer, HttpError> {
    let (query, limit) = match consistency {
        Consistency::Default => (String::new(), READ_TIMEOUT),
        Consistency::Consistent => ("?consistent".to_owned(), READ_TIMEOUT),
        Consistency::Blocking(cursor) => (format!("?{}", cursor.query()), LIMIT),
    };
    let path = format!("{path}{query}");
    let answer = http.get(&path, limit).await?;
    if has_no_leader(&answer) {
        return Err(HttpError::Unusable {
            path,
            why: "the cluster has no leader".to_owned(),
        });
    }
    Ok(answer)
}

/// What the agent's streaming backend answers from does not know of leaders, and its header says `false` always.
fn has_no_leader(answer: &Answer) -> bool {
    let backend = answer.headers.get("X-Consul-Query-Backend");
    let streaming = backend.is_some_and(|backend| backend == "streaming");
    !streaming && answer.flag("X-Consul-KnownLeader") == Some(false)
}

/// Reads one service; gives also the answer.
pub(super) async fn health(http: &Http, name: &str, consistency: Consistency) -> Read {
    let path = format!("/v1/health/service/{}", encoded(name));
    let answer = ask(http, &path, consistency).await?;
    let entries: Entries = lenient::read(&answer, &path)?;
    if entries.is_empty() && is_filtered(&answer) {
        let why =
            "everything was filtered out by ACLs: does the token have service:read and node:read?";
        return Err(HttpError::Unusable {
            path,
            why: why.to_owned(),
        });
    }
    Ok((service(&entries), answer))
}

/// The same, not from the past: older than `mark` it is asked for consistently, and then it is another history.
pub(super) async fn health_since(http: &Http, name: &str, mark: Option<u64>) -> Read {
    let (read, answer) = health(http, name, Consistency::Default).await?;
    if mark.is_some_and(|mark| index(&answer) < mark) {
        return health(http, name, Consistency::Consistent).await;
    }
    Ok((read, answer))
}

/// Whether ACLs hid a part of the answer.
pub(super) fn is_filtered(answer: &Answer) -> bool {
    answer.flag("X-Consul-Results-Filtered-By-ACLs") == Some(true)
}

/// Gives the answer's index in Consul's history; 0 if it does not say.
pub(super) fn index(answer: &Answer) -> u64 {
    answer.number("X-Consul-Index").unwrap_or_default()
}

/// Why a service of that name can't be asked for; `None` if it can. A path's segments `.` and `..` are no names on
/// their way to Consul, whatever they are encoded as.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    let segments = name.strip_suffix('/').unwrap_or(name).split('/');
    if name.chars().any(char::is_control) {
        Some("its name has control characters; it is not followed")
    } else if segments
        .into_iter()
        .any(|part| matches!(part, "" | "." | ".."))
    {
        Some("its name can't stand in a path, so Consul can't be asked for it; it is not followed")
    } else {
        None
    }
}

/// A service's name in a path.
pub fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_path_can_carry_is_refused_and_an_odd_one_is_encoded() {
        for name in [
            ".", "..", "", "a/../b", "a//b", "/a", "./a", "a\nb", "a\u{7f}", "\u{85}",
        ] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
        for name in ["web", "...", "a.b", "a/b", "a b", "ü?#%", "a/"] {
            assert_eq!(refusal(name), None, "{name:?}");
        }
        assert_eq!(encoded("a/b ü%"), "a%2Fb%20%C3%BC%25");
    }

    #[test]
    fn a_leader_is_missed_only_where_the_backend_knows_of_leaders() {
        let answer = |headers: &[(&'static str, &'static str)]| Answer {
            body: Vec::new(),
            headers: headers
                .iter()
                .map(|(name, value)| {
                    let name = reqwest::header::HeaderName::from_static(name);
                    (name, reqwest::header::HeaderValue::from_static(value))
                })
                .collect(),
            arrived: tokio::time::Instant::now(),
        };
        let (backend, leader) = ("x-consul-query-backend", "x-consul-knownleader");
        assert!(!has_no_leader(&answer(&[(leader, "true")])));
        assert!(has_no_leader(&answer(&[(leader, "false")])));
        assert!(has_no_leader(&answer(&[
            (leader, "false"),
            (backend, "blocking-query")
        ])));
        assert!(!has_no_leader(&answer(&[
            (leader, "false"),
            (backend, "streaming")
        ])));
        assert!(!has_no_leader(&answer(&[])));
    }
}
