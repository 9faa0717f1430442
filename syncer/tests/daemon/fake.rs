//! An in-process Nomad and Consul: the few endpoints that are used, blocking queries with their index, and faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::counting::{Connections, Counting};
use tokio_util::sync::CancellationToken;

/// What goes wrong with every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    Status500,
    NoLeader,
    /// Accepts and never answers.
    Stall,
    /// JSON that ends in the middle, with a length that says so.
    CutLine,
    /// A connection that ends before the length that was promised.
    TruncatedBody,
    /// Everything filtered out by ACLs.
    AclFiltered,
    /// Replays its log after a restart: answers from [`World::past`], and from nothing newer where it is asked for that.
    Replaying,
}

/// What the servers say.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) index: u64,
    /// Entries of `/v1/health/service/:name`.
    pub(crate) services: BTreeMap<String, Vec<Value>>,
    pub(crate) allocations: Vec<Value>,
    /// `Job` of each allocation, by its id.
    pub(crate) jobs: BTreeMap<String, Value>,
    /// The agent's own registrations.
    pub(crate) registered: BTreeMap<String, Value>,
    pub(crate) fault: Fault,
    /// Services that the token may not read.
    pub(crate) unreadable: BTreeSet<String>,
    /// The token sees a part of the agent's registrations.
    pub(crate) filtered: bool,
    /// Allocations whose job can't be read.
    pub(crate) jobless: BTreeSet<String>,
    /// What was once, and under which index.
    pub(crate) past: (BTreeMap<String, Vec<Value>>, u64),
    /// Consul lists itself; one that has lost everything does not.
    pub(crate) blank: bool,
    /// The list of services can't be read.
    pub(crate) listless: bool,
    /// How often each path was asked for.
    pub(crate) asked: BTreeMap<String, u64>,
    /// When each service changed last, and when any registration and any service went.
    modified: BTreeMap<String, u64>,
    registered_at: u64,
    extinct_at: u64,
}

impl World {
    /// Gives what is different from `before` the index of now, as Consul's tables do.
    fn note(&mut self, before: &BTreeMap<String, Vec<Value>>) {
        let index = self.index;
        let registrations = |entries: &[Value]| -> Vec<Value> {
            entries
                .iter()
                .map(|entry| entry["Service"].clone())
                .collect()
        };
        for (name, entries) in &self.services {
            let there = before.get(name);
            if there != Some(entries) {
                self.modified.insert(name.clone(), index);
            }
            if there.map(|there| registrations(there)) != Some(registrations(entries)) {
                self.registered_at = index;
            }
        }
        if before.keys().any(|name| !self.services.contains_key(name)) {
            (self.registered_at, self.extinct_at) = (index, index);
        }
        // A restored snapshot has no index above its own.
        for at in self
            .modified
            .values_mut()
            .chain([&mut self.registered_at, &mut self.extinct_at])
        {
            *at = (*at).min(index);
        }
    }

    fn index_of(&self, name: &str) -> u64 {
        let there = self
            .services
            .get(name)
            .is_some_and(|entries| !entries.is_empty());
        let modified = self.modified.get(name).copied().unwrap_or_default();
        if there {
            modified
        } else {
            modified.max(self.extinct_at)
        }
        .max(1)
    }

    /// Checks of that status, as `/v1/health/state/:status` lists them.
    fn checks(&self, status: &str) -> Value {
        let of_service = |(name, entries): (&String, &Vec<Value>)| -> Vec<Value> {
            let checks = entries.iter().flat_map(|entry| {
                let node = entry["Node"]["Node"].clone();
                let checks = entry["Checks"].as_array().cloned().unwrap_or_default();
                checks
                    .into_iter()
                    .filter(|check| check["Status"] == status)
                    .map(move |mut check| {
                        check["Node"] = node.clone();
                        let of_node = check["ServiceID"].as_str().unwrap_or_default().is_empty();
                        check["ServiceName"] = if of_node { json!("") } else { json!(name) };
                        check["ModifyIndex"] = json!(self.modified.get(name));
                        check
                    })
            });
            checks.collect()
        };
        self.services.iter().flat_map(of_service).collect()
    }
}

/// One server that is both.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
    connections: Arc<Connections>,
}

impl Fake {
    pub(crate) async fn start(stop: CancellationToken) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), stop).await
    }

    async fn at(address: SocketAddr, stop: CancellationToken) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World {
            index: 10,
            ..World::default()
        }));
        let fake = Self {
            address,
            world,
            changed: watch::Sender::new(0),
            connections: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/catalog/services", get(catalog))
            .route("/v1/health/service/{name}", get(health))
            .route("/v1/health/state/{status}", get(state))
            .route("/v1/allocations", get(allocations))
            .route("/v1/allocation/{id}", get(allocation))
            .route("/v1/agent/self", get(agent_self))
            .route("/v1/agent/services", get(agent_services))
            .route("/v1/agent/service/register", put(register))
            .route("/v1/agent/service/deregister/{id}", put(deregister))
            .layer(middleware::from_fn_with_state(fake.clone(), note))
            .with_state(fake.clone());
        let listener = Counting {
            listener,
            connections: Arc::clone(&fake.connections),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                served = axum::serve(listener, router) => served.unwrap(),
            }
        });
        fake
    }

    /// Changes what is said, under the next index; whoever is blocked gets an answer.
    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        self.change_at(|index| index + 1, change);
    }

    /// The same with an index of its own.
    pub(crate) fn change_at(
        &self,
        index: impl FnOnce(u64) -> u64,
        change: impl FnOnce(&mut World),
    ) {
        let mut world = self.world.lock().unwrap();
        world.index = index(world.index);
        let before = world.services.clone();
        change(&mut world);
        world.note(&before);
        drop(world);
        self.changed.send_modify(|version| *version += 1);
    }

    /// How many connections there were at once at most.
    pub(crate) fn most_connections(&self) -> usize {
        self.connections.most.load(Ordering::Relaxed)
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap())
    }

    /// Blocks as the query says until `index_of` has moved, then answers with the faults of the day.
    async fn answer(
        &self,
        query: &HashMap<String, String>,
        index_of: impl Fn(&World) -> u64,
        say: impl Fn(&World) -> Value,
    ) -> Response {
        let mut changed = self.changed.subscribe();
        let asked: u64 = query
            .get("index")
            .and_then(|index| index.parse().ok())
            .unwrap_or(0);
        let blocked =
            |world: &World| asked != 0 && world.fault == Fault::None && index_of(world) == asked;
        let limit = tokio::time::sleep(Duration::from_mins(1));
        tokio::pin!(limit);
        while self.look(blocked) {
            tokio::select! {
                _ = changed.changed() => {}
                () = &mut limit => break,
            }
        }
        let (fault, mut index, mut body) =
            self.look(|world| (world.fault, index_of(world), say(world).to_string()));
        let error = |what: &'static str| (StatusCode::INTERNAL_SERVER_ERROR, what).into_response();
        if fault == Fault::Replaying {
            if query.contains_key("consistent") {
                return error("Not ready to serve consistent reads");
            }
            (index, body) = self.look(|world| {
                let (services, index) = world.past.clone();
                let past = World {
                    services,
                    ..World::default()
                };
                (index, say(&past).to_string())
            });
        }
        let mut response = match fault {
            Fault::None | Fault::Replaying => body.into_response(),
            Fault::Status500 => error("rpc error"),
            Fault::NoLeader => error("No cluster leader"),
            Fault::Stall => {
                let _ = changed.changed().await;
                error("stalled")
            }
            Fault::CutLine => body[..body.len() / 2].to_owned().into_response(),
            Fault::TruncatedBody => truncated(&body),
            Fault::AclFiltered => "[]".into_response(),
        };
        let headers = response.headers_mut();
        for name in ["x-consul-index", "x-nomad-index"] {
            headers.insert(name, HeaderValue::from(index));
        }
        // As the agent's streaming backend answers: it knows of no leader.
        let (leader, backend) = match asked {
            _ if fault == Fault::NoLeader => ("false", "blocking-query"),
            0 => ("true", "blocking-query"),
            _ => ("false", "streaming"),
        };
        headers.insert("x-consul-knownleader", HeaderValue::from_static(leader));
        headers.insert("x-consul-query-backend", HeaderValue::from_static(backend));
        if fault == Fault::AclFiltered {
            headers.insert(
                "x-consul-results-filtered-by-acls",
                HeaderValue::from_static("true"),
            );
        }
        response
    }
}

/// Remembers who asks for what.
async fn note(State(fake): State<Fake>, request: Request, next: Next) -> Response {
    {
        let mut world = fake.world.lock().unwrap();
        *world
            .asked
            .entry(request.uri().path().to_owned())
            .or_default() += 1;
    }
    next.run(request).await
}

fn truncated(body: &str) -> Response {
    let half = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    let stream = futures_util::stream::iter([Ok::<_, Infallible>(half)]);
    let mut response = Response::new(Body::from_stream(stream));
    response
        .headers_mut()
        .insert("content-length", HeaderValue::from(body.len()));
    response
}

type Parameters = Query<HashMap<String, String>>;

async fn catalog(State(fake): State<Fake>, Query(query): Parameters) -> Response {
    if fake.look(|world| world.listless) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "rpc error").into_response();
    }
    let say = |world: &World| {
        let tags = |entries: &Vec<Value>| -> Value {
            entries
                .iter()
                .filter_map(|entry| entry["Service"]["Tags"].as_array())
                .flatten()
                .cloned()
                .collect()
        };
        let living = world
            .services
            .iter()
            .filter(|(_, entries)| !entries.is_empty());
        living
            .map(|(name, entries)| (name.clone(), tags(entries)))
            .chain((!world.blank).then(|| ("consul".to_owned(), json!([]))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    fake.answer(&query, |world| world.registered_at.max(1), say)
        .await
}

async fn state(
    State(fake): State<Fake>,
    Path(status): Path<String>,
    Query(query): Parameters,
) -> Response {
    fake.answer(&query, |world| world.index, |world| world.checks(&status))
        .await
}

async fn health(
    State(fake): State<Fake>,
    Path(name): Path<String>,
    Query(query): Parameters,
) -> Response {
    if fake.look(|world| world.unreadable.contains(&name)) {
        return (StatusCode::FORBIDDEN, "Permission denied").into_response();
    }
    let entries = |world: &World| {
        let entries = world.services.get(&name);
        entries.cloned().unwrap_or_default().into()
    };
    fake.answer(&query, |world| world.index_of(&name), entries)
        .await
}

async fn allocations(State(fake): State<Fake>, Query(query): Parameters) -> Response {
    fake.answer(
        &query,
        |world| world.index,
        |world| world.allocations.clone().into(),
    )
    .await
}

async fn allocation(State(fake): State<Fake>, Path(id): Path<String>) -> Response {
    if fake.look(|world| world.jobless.contains(&id)) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "rpc error").into_response();
    }
    fake.answer(
        &HashMap::new(),
        |world| world.index,
        |world| json!({ "ID": id, "Job": world.jobs.get(&id) }),
    )
    .await
}

async fn agent_self(State(fake): State<Fake>) -> Response {
    fake.answer(
        &HashMap::new(),
        |world| world.index,
        |_| json!({ "stats": { "client": { "node_id": "n1" } } }),
    )
    .await
}

async fn agent_services(State(fake): State<Fake>) -> Response {
    let mut response = fake
        .answer(
            &HashMap::new(),
            |world| world.index,
            |world| json!(world.registered),
        )
        .await;
    if fake.look(|world| world.filtered) {
        let filtered = HeaderValue::from_static("true");
        let headers = response.headers_mut();
        headers.insert("x-consul-results-filtered-by-acls", filtered);
    }
    response
}

async fn register(State(fake): State<Fake>, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = body["ID"].as_str().unwrap().to_owned();
    let service = json!({ "ID": id, "Service": body["Name"], "Address": body["Address"], "Port": body["Port"],
                          "Check": body["Check"] });
    fake.change(|world| drop(world.registered.insert(id, service)));
    StatusCode::OK
}

async fn deregister(State(fake): State<Fake>, Path(id): Path<String>) -> StatusCode {
    let known = fake.look(|world| world.registered.contains_key(&id));
    fake.change(|world| drop(world.registered.remove(&id)));
    if known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    }
}
