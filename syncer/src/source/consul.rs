//! Consul's catalogue as snapshots, over a few connections whatever the number of services.
//!
//! ```text
//! feed: names, critical, warning ──▶ agenda ──▶ a pool of reads ─┐
//!                                  a few services directly ──────┼─▶ view ──▶ watch<Published<Catalog>>
//!                        the shrink guard's second read: confirm ┘
//! ```
//!
//! Consul lets one client address have 200 connections, so that a blocking query for each service is no way to follow
//! thousands. Three lists say what changed (`feed`), the `agenda` says what to read next, and a pool reads a few at
//! once. The first few services, those of the config file before others, have a blocking query of their own.
//!
//! A service that left the list of names is followed on until its own answer says that it is empty: a list alone takes
//! nothing away. An answer from Consul's past is not taken (`read`).
//!
//! The view is published once all of it has been read. Where some of it can't be read, it is published without that after
//! [`FIRST_VIEW_TIMEOUT`]: one service that a token may not see does not keep all others from being followed. The view
//! names what has not been read, so that nobody takes it for empty.

mod agenda;
mod confirm;
mod direct;
mod feed;
mod nodes;
mod read;
mod reader;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use syncer_core::model::catalog::{Catalog, Health};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Published, changed, until, whole};
use crate::http::{Api, Http, SetupError};
use crate::parts::Parts;

pub use read::encoded;
pub use view::FIRST_VIEW_TIMEOUT;

use agenda::{Agenda, Outcome, Turn};
use feed::{Checks, Failing, Feed, Names, News, Tagged};
use read::Read;
use reader::Reader;
use view::{Subject, View};

/// The header that carries Consul's token.
pub const TOKEN_HEADER: &str = "X-Consul-Token";

/// How many services are followed on a connection of their own. With three lists, the pool, one that confirms and those
/// that the HTTP client keeps without need there are 16 connections at most.
const DIRECT_LIMIT: usize = 4;

/// How many other services are read at once.
const POOL_SIZE: usize = 4;

/// The running source.
#[derive(Debug)]
pub struct ConsulSource {
    pub published: watch::Receiver<Published<Catalog>>,
    /// Asks for a confirming read.
    pub confirm: mpsc::Sender<()>,
}

/// Starts to follow `names` and whatever has a VIP by its tags, until `stop`.
pub fn start(
    api: &Api,
    names: watch::Receiver<BTreeSet<Arc<str>>>,
    parts: &mut Parts,
    stop: CancellationToken,
) -> Result<ConsulSource, SetupError> {
    let http = Http::new(api, TOKEN_HEADER)?;
    let (publisher, published) = watch::channel(Published::default());
    let (confirm, confirmations) = mpsc::channel(1);
    let reader = Reader {
        http,
        view: Arc::new(Mutex::new(View::new(publisher))),
        named: names,
    };
    let api = api.clone();
    parts.spawn("what follows Consul", async move {
        let follower = Follower::new(reader, api);
        stop.run_until_cancelled(follower.run(confirmations)).await;
    });
    Ok(ConsulSource { published, confirm })
}

/// The one loop that decides what is read.
#[derive(Debug)]
struct Follower {
    reader: Reader,
    api: Api,
    followed: BTreeSet<Arc<str>>,
    direct: JoinSet<Arc<str>>,
    agenda: Agenda,
    pool: JoinSet<(Turn, Read)>,
    feeds: JoinSet<()>,
    /// The channel that feeds send to.
    sender: mpsc::Sender<News>,
    /// The last list of names and its highest index.
    tagged: Tagged,
    names_mark: u64,
    was_blank: bool,
    /// The last list of each feed of checks; a feed that has not answered is missing.
    failing: BTreeMap<Feed, BTreeSet<Failing>>,
    /// Feeds of checks that have not answered yet: what is read before they do would have to be read again.
    awaited: BTreeSet<Feed>,
    /// Services of the pool of which an instance was not passing.
    ailing: BTreeSet<Arc<str>>,
    news: mpsc::Receiver<News>,
}

impl Follower {
    fn new(reader: Reader, api: Api) -> Self {
        let (sender, news) = mpsc::channel(4);
        Self {
            reader,
            api,
            followed: BTreeSet::new(),
            direct: JoinSet::new(),
            agenda: Agenda::new(Instant::now()),
            pool: JoinSet::new(),
            feeds: JoinSet::new(),
            sender,
            tagged: Tagged::new(),
            names_mark: 0,
            was_blank: false,
            failing: BTreeMap::new(),
            awaited: BTreeSet::new(),
            ailing: BTreeSet::new(),
            news,
        }
    }

    async fn run(mut self, mut confirmations: mpsc::Receiver<()>) {
        let mut named = self.reader.named.clone();
        self.follow_named(&mut named);
        self.feed(Feed::Names);
        let mut confirming = JoinSet::new();
        loop {
            let wake = self.fill();
            // Cancel-safe: what has come or ended is taken once, and nothing of it is lost to another arm.
            tokio::select! {
                Some(news) = self.news.recv() => self.hear(news),
                Some(ended) = self.pool.join_next() => {
                    if let Some((turn, read)) = whole(ended) {
                        self.take(&turn, read);
                    }
                }
                Some(ended) = self.direct.join_next() => {
                    if let Some(name) = whole(ended) {
                        self.followed.remove(&name);
                    }
                }
                Some(ended) = self.feeds.join_next() => drop(whole(ended)),
                Some(ended) = confirming.join_next() => drop(whole(ended)),
                Some(()) = confirmations.recv(), if confirming.is_empty() => {
                    let (reader, api) = (self.reader.clone(), self.api.clone());
                    confirming.spawn(confirm::confirm(reader, api, self.followed.clone()));
                }
                () = changed(Some(&mut named)) => self.follow_named(&mut named),
                () = until(wake) => {}
            }
        }
    }

    /// Follows all services that the config file names by now. One that it does not name any more is forgotten once it is
    /// empty.
    fn follow_named(&mut self, named: &mut watch::Receiver<BTreeSet<Arc<str>>>) {
        let names = named.borrow_and_update().clone();
        for name in &names {
            self.follow(name, Instant::now());
        }
    }

    fn feed(&mut self, feed: Feed) {
        let (http, sender) = (self.reader.http.clone(), self.sender.clone());
        self.feeds.spawn(feed::follow(http, feed, sender));
    }

    /// Follows one service more, if it can be asked for.
    fn follow(&mut self, name: &Arc<str>, at: Instant) {
        if let Some(why) = read::refusal(name) {
            let interest = self.reader.interest(name);
            self.reader.lock().refuse(name, why, interest);
            return;
        }
        if !self.followed.insert(Arc::clone(name)) {
            return;
        }
        self.reader.lock().catalog.unread.insert(Arc::clone(name));
        if self.direct.len() < DIRECT_LIMIT {
            let reader = self.reader.clone();
            self.direct.spawn(direct::follow(reader, Arc::clone(name)));
            return;
        }
        if self.agenda.is_empty() && self.failing.is_empty() && self.awaited.is_empty() {
            for feed in [Feed::Critical, Feed::Warning] {
                self.awaited.insert(feed);
                self.feed(feed);
            }
        }
        self.agenda.follow(name, at);
    }

    /// Starts as many reads as may run; says when there will be more to do.
    fn fill(&mut self) -> Option<Instant> {
        while self.awaited.is_empty() && self.pool.len() < POOL_SIZE {
            let turn = match self.agenda.next(Instant::now()) {
                Ok(turn) => turn,
                Err(wake) => return wake,
            };
            let reader = self.reader.clone();
            self.pool.spawn(async move {
                let read = read::health_since(&reader.http, &turn.name, turn.mark).await;
                let read =
                    read.and_then(|(read, answer)| reader.unless_hidden(&turn.name, read, answer));
                (turn, read)
            });
        }
        None
    }

    fn take(&mut self, turn: &Turn, read: Read) {
        let outcome = match read {
            Ok((service, answer)) => {
                let is_ailing = service
                    .instances
                    .iter()
                    .any(|instance| instance.health != Health::Passing);
                if is_ailing {
                    self.ailing.insert(Arc::clone(&turn.name));
                } else {
                    self.ailing.remove(&turn.name);
                }
                let changed = self
                    .reader
                    .known(&turn.name)
                    .is_none_or(|known| *known != service);
                let named_at = turn.named_at.unwrap_or(answer.arrived);
                let gone = self
                    .reader
                    .take(&turn.name, service, &answer, turn.mark, named_at);
                if gone {
                    self.followed.remove(&turn.name);
                    Outcome::Gone
                } else {
                    let index = read::index(&answer);
                    Outcome::Read { index, changed }
                }
            }
            Err(error) => {
                self.reader.fail(&turn.name, &error);
                Outcome::Failed
            }
        };
        self.agenda.finish(&turn.name, outcome, Instant::now());
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Names(names) => self.hear_names(names),
            News::Checks(checks) => self.hear_checks(checks),
            News::Failed(feed, error) => {
                self.awaited.remove(&feed);
                self.reader.lock().fail(Subject::Feed(feed), &error);
            }
        }
    }

    fn hear_names(&mut self, names: Names) {
        let Names {
            tagged,
            is_blank,
            index,
            arrived,
        } = names;
        // A Consul that lives lists itself.
        if index < self.names_mark || is_blank && !self.was_blank {
            self.reader.lock().restart();
        }
        self.was_blank = is_blank;
        for (name, tags) in &tagged {
            if !self.followed.contains(name) {
                self.follow(name, arrived);
            } else if self.tagged.get(name) != Some(tags) {
                self.agenda.name(name, arrived);
            }
        }
        // Not before what is new counts as unread.
        self.reader.lock().list(arrived, index, &tagged);
        for name in self
            .tagged
            .keys()
            .filter(|name| !tagged.contains_key(*name))
        {
            self.agenda.name(name, arrived);
        }
        if index != self.names_mark {
            self.agenda.doubt(arrived);
        }
        self.names_mark = index;
        self.tagged = tagged;
    }

    fn hear_checks(&mut self, checks: Checks) {
        let Checks {
            feed,
            failing,
            arrived,
        } = checks;
        self.awaited.remove(&feed);
        self.reader.lock().well(&Subject::Feed(feed));
        let Some(before) = self.failing.insert(feed, failing) else {
            self.agenda.doubt(arrived);
            return;
        };
        let now = &self.failing[&feed];
        let mut nodes = BTreeSet::new();
        for check in before.symmetric_difference(now) {
            if check.service.is_empty() {
                nodes.insert(&check.node);
            } else {
                self.agenda.name(&check.service, arrived);
            }
        }
        if !nodes.is_empty() {
            let view = self.reader.lock();
            for (name, service) in &view.catalog.services {
                if service
                    .instances
                    .iter()
                    .any(|check| nodes.contains(&check.node))
                {
                    self.agenda.name(name, arrived);
                }
            }
        }
        self.recover(arrived);
    }

    /// Names what was not passing when it was read and is in no list: it recovered between two lists.
    fn recover(&mut self, arrived: Instant) {
        if self.ailing.is_empty() {
            return;
        }
        let listed = || self.failing.values().flatten();
        let services: BTreeSet<&str> = listed().map(|check| &*check.service).collect();
        let nodes: BTreeSet<&Arc<str>> = listed()
            .filter(|check| check.service.is_empty())
            .map(|check| &check.node)
            .collect();
        let view = self.reader.lock();
        for name in self
            .ailing
            .iter()
            .filter(|name| !services.contains(&***name))
        {
            let service = view.catalog.services.get(name);
            let on_failing = service.is_some_and(|service| {
                service
                    .instances
                    .iter()
                    .any(|check| nodes.contains(&check.node))
            });
            if !on_failing {
                self.agenda.name(name, arrived);
            }
        }
    }
}
