//! The plugin's life: bind, announce, serve until told to go, leave nothing behind.
//!
//! Ends on go-plugin's `Shutdown` call or on SIGTERM. SIGINT is ignored: in a terminal it reaches the whole process
//! group, and the agent stops its plugins itself, in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nomad_ipvs_proto::base::base_plugin_server::BasePluginServer;
use nomad_ipvs_proto::driver::driver_server::DriverServer;
use nomad_ipvs_proto::plugin::grpc_broker_server::GrpcBrokerServer;
use nomad_ipvs_proto::plugin::grpc_controller_server::GrpcControllerServer;
use nomad_ipvs_proto::plugin::grpc_stdio_server::GrpcStdioServer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tracing::{info, warn};

use crate::base::{Base, Identity};
use crate::driver::TaskDriver;
use crate::goplugin::{Broker, Controller, Stdio};
use crate::handshake::{self, Handshake};
use crate::service::Service;
use crate::socket::{Socket, SocketError};

/// go-plugin kills a plugin two seconds after it asked it to go.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time for the answer to `Shutdown` to leave the socket.
const ANSWER_FLUSH_TIME: Duration = Duration::from_millis(50);
/// Every message the agent may send: it sets no limit of its own.
const MESSAGE_SIZE_MAX: usize = i32::MAX as usize;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("no socket")]
    Socket(#[from] SocketError),
    #[error("cannot write the handshake line to stdout")]
    Announce(#[source] io::Error),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `driver` until the agent or SIGTERM ends it.
pub async fn serve<D: TaskDriver>(
    handshake: &Handshake,
    identity: Identity,
    driver: Arc<D>,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    // A handler that nobody reads is how an interrupt is ignored without unsafe code.
    let _interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let (socket, listener) = Socket::bind(handshake)?;

    let shutdown = Arc::new(Notify::new());
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("plugin", tonic_health::ServingStatus::Serving)
        .await;
    let server = Server::builder()
        .max_concurrent_streams(None)
        .add_service(health_service)
        .add_service(GrpcControllerServer::new(Controller::new(Arc::clone(
            &shutdown,
        ))))
        .add_service(GrpcStdioServer::new(Stdio))
        .add_service(GrpcBrokerServer::new(Broker))
        .add_service(
            BasePluginServer::new(Base::new(identity.clone(), Arc::clone(&driver)))
                .max_decoding_message_size(MESSAGE_SIZE_MAX),
        )
        .add_service(
            DriverServer::new(Service::new(Arc::clone(&driver)))
                .max_decoding_message_size(MESSAGE_SIZE_MAX),
        )
        .serve_with_incoming(UnixListenerStream::new(listener));

    handshake::announce(socket.path()).map_err(ServeError::Announce)?;
    info!(
        driver = identity.name,
        version = identity.version,
        "driver is up"
    );

    // Streams like Fingerprint never end, so waiting for them would wait for ever: the server is dropped instead.
    let outcome = tokio::select! {
        outcome = server => outcome,
        () = shutdown.notified() => {
            tokio::time::sleep(ANSWER_FLUSH_TIME).await;
            Ok(())
        }
        _ = terminate.recv() => Ok(()),
    };
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, driver.shutdown())
        .await
        .is_err()
    {
        warn!("the driver did not settle in time, going anyway");
    }
    drop(socket);
    Ok(outcome?)
}
