//! An in-process Nomad and Consul: the few endpoints that are used, blocking queries with their index, and faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::{Value, json};
use tokio::sync::watch;
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
    pub(crate) requests: u64,
}

/// One server that is both.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) address: String,
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
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
        };
        let router = Router::new()
            .route("/v1/catalog/services", get(catalog))
            .route("/v1/health/service/{name}", get(health))
            .route("/v1/allocations", get(allocations))
            .route("/v1/allocation/{id}", get(allocation))
            .route("/v1/agent/self", get(agent_self))
            .route("/v1/agent/services", get(agent_services))
            .route("/v1/agent/service/register", put(register))
            .route("/v1/agent/service/deregister/{id}", put(deregister))
            .with_state(fake.clone());
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
        change(&mut world);
        drop(world);
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap())
    }

    /// Blocks as the query says, then answers with the faults of the day.
    async fn answer(
        &self,
        query: &HashMap<String, String>,
        say: impl Fn(&World) -> Value,
    ) -> Response {
        let mut changed = self.changed.subscribe();
        let asked: u64 = query
            .get("index")
            .and_then(|index| index.parse().ok())
            .unwrap_or(0);
        self.world.lock().unwrap().requests += 1;
        if asked != 0 && self.look(|world| world.fault == Fault::None && world.index == asked) {
            let _ = tokio::time::timeout(Duration::from_mins(1), changed.changed()).await;
        }
        let (fault, index, body) =
            self.look(|world| (world.fault, world.index, say(world).to_string()));
        let mut response = match fault {
            Fault::None => body.into_response(),
            Fault::Status500 => (StatusCode::INTERNAL_SERVER_ERROR, "rpc error").into_response(),
            Fault::NoLeader => {
                (StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader").into_response()
            }
            Fault::Stall => {
                let _ = changed.changed().await;
                (StatusCode::INTERNAL_SERVER_ERROR, "stalled").into_response()
            }
            Fault::CutLine => body[..body.len() / 2].to_owned().into_response(),
            Fault::TruncatedBody => truncated(&body),
            Fault::AclFiltered => "[]".into_response(),
        };
        let headers = response.headers_mut();
        for name in ["x-consul-index", "x-nomad-index"] {
            headers.insert(name, HeaderValue::from(index));
        }
        let leader = if fault == Fault::NoLeader {
            "false"
        } else {
            "true"
        };
        headers.insert("x-consul-knownleader", HeaderValue::from_static(leader));
        if fault == Fault::AclFiltered {
            headers.insert(
                "x-consul-results-filtered-by-acls",
                HeaderValue::from_static("true"),
            );
        }
        response
    }
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
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    fake.answer(&query, say).await
}

async fn health(
    State(fake): State<Fake>,
    Path(name): Path<String>,
    Query(query): Parameters,
) -> Response {
    if fake.look(|world| world.unreadable.contains(&name)) {
        return (StatusCode::FORBIDDEN, "Permission denied").into_response();
    }
    fake.answer(&query, |world| {
        world
            .services
            .get(&name)
            .cloned()
            .unwrap_or_default()
            .into()
    })
    .await
}

async fn allocations(State(fake): State<Fake>, Query(query): Parameters) -> Response {
    fake.answer(&query, |world| world.allocations.clone().into())
        .await
}

async fn allocation(State(fake): State<Fake>, Path(id): Path<String>) -> Response {
    fake.answer(
        &HashMap::new(),
        |world| json!({ "ID": id, "Job": world.jobs.get(&id) }),
    )
    .await
}

async fn agent_self(State(fake): State<Fake>) -> Response {
    fake.answer(
        &HashMap::new(),
        |_| json!({ "stats": { "client": { "node_id": "n1" } } }),
    )
    .await
}

async fn agent_services(State(fake): State<Fake>) -> Response {
    let mut response = fake
        .answer(&HashMap::new(), |world| json!(world.registered))
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
