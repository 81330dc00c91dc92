//! The composition root: the only module that sees everything. Starts in order, stops in order.
//!
//! Start: data folder, secret, store, scheduler, janitor, HTTP. Stop: take no more connections,
//! start no more attempts, wait for the running ones, flush, close.

pub mod files;
mod janitor;
mod notify_ready;
mod rounds;
mod settings;
mod signals;
mod spool;
mod tasks;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::api::auth::{self, DEFAULT_ORG, Secret, Subject};
use crate::api::{Api, Declared, serve};
use crate::config::Config;
use crate::config::load::{Loaded, Overrides};
use crate::delivery::Deliverer;
use crate::model::clock::{Clock as _, SystemClock};
use crate::scheduler::Scheduler;
use crate::scheduler::core::Event;
use crate::scheduler::shell::Input;
use crate::store::Store;

use files::{Files, Reloader};
use rounds::Rounds;
pub use settings::keys;
use tasks::TaskRunner;

/// Where the store lies inside the data folder.
pub const STORE_FOLDER: &str = "store";

/// How long operator tokens made by the daemon and the command line last: 10 years, as svix's do.
const TOKEN_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A running daemon.
pub struct Daemon {
    address: SocketAddr,
    secret: Secret,
    grace: Duration,
    store: Arc<Store>,
    scheduler: Arc<Scheduler>,
    janitor: Rounds,
    tasks: TaskRunner,
    runtime: Runtime,
    stop_http: oneshot::Sender<()>,
    http_stopped: tokio::task::JoinHandle<()>,
    files: Arc<Files>,
    spool: Option<Rounds>,
}

impl Daemon {
    /// Starts everything; returns when requests are answered.
    ///
    /// # Errors
    /// The data folder, the store, the secret or the address cannot be used; each says which.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let folder = &config.storage.path;
        settings::make_private(folder)
            .with_context(|| format!("failed to use the data folder {}", folder.display()))?;
        let secret = settings::secret(config, folder)?;
        let deliverer =
            Deliverer::new(settings::delivery(config)?).context("failed to set up delivery")?;
        let deliverer = Arc::new(deliverer);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings::http_threads())
            .thread_name("http")
            .enable_all()
            .build()
            .context("failed to start the HTTP threads")?;
        let (sender, inputs) = Scheduler::channel();
        let events = sender.clone();
        let store = Store::open(
            settings::store(config, folder.join(STORE_FOLDER), runtime.handle()),
            // The scheduler's thread outlives the commit thread.
            Box::new(move |group| drop(events.send(Input::Event(Event::Committed(group))))),
        );
        let store = Arc::new(store.context("failed to open the store")?);
        let scheduler = Scheduler::start(
            settings::scheduler(config, Arc::clone(&deliverer)),
            Arc::clone(&store),
            sender,
            inputs,
        );
        let scheduler = Arc::new(scheduler.context("failed to start the scheduler")?);
        let janitor = janitor::start(Arc::clone(&store)).context("failed to start the janitor")?;
        let tasks = TaskRunner::start(Arc::clone(&store))
            .context("failed to start the background tasks")?;

        let listen = config.server.listen;
        let listener = runtime
            .block_on(async { serve::listen(listen) })
            .with_context(|| format!("failed to listen on {listen} (server.listen)"))?;
        let address = listener.local_addr().context("failed to read the address")?;
        let api = Arc::new(Api::new(
            Arc::clone(&store),
            Arc::clone(scheduler.board()),
            settings::api(config, secret.clone(), address),
        ));
        api.inbound().set_confirmer(Arc::new(settings::Confirmer(deliverer)));
        let files = take_files(config, &store, &api)?;
        let spool = start_spool(config, &store)?;
        let (stop_http, stopped) = oneshot::channel();
        let http_stopped = runtime.spawn(serve::serve(
            listener,
            api,
            settings::serve_limits(config),
            async move { drop(stopped.await) },
        ));
        let grace = config.server.shutdown_grace;
        Ok(Self {
            address,
            secret,
            grace,
            store,
            scheduler,
            janitor,
            tasks,
            runtime,
            stop_http,
            http_stopped,
            files,
            spool,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An operator token of the default organisation.
    pub fn token(&self) -> String {
        let subject = Subject::Org(DEFAULT_ORG.to_owned());
        auth::mint(&self.secret, &subject, SystemClock.now().seconds(), TOKEN_TTL)
    }

    /// One line for people: where the store is and what is in it.
    pub fn summary(&self) -> String {
        let (apps, endpoints) = self.store.directory().counts().unwrap_or_default();
        let path = self.store.path().display();
        format!("{path} ({apps} applications, {endpoints} endpoints)")
    }

    /// Stops in order: no new connections, no new attempts, running ones are waited for up to
    /// `server.shutdown_grace`, everything is flushed. Attempts that were not finished are not
    /// recorded: they are due again at the next start.
    ///
    /// # Errors
    /// The store could not be closed.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self {
            runtime,
            stop_http,
            http_stopped,
            scheduler,
            janitor,
            tasks,
            store,
            grace,
            spool,
            ..
        } = self;
        tracing::info!("stopping: no more connections");
        stop_http.send(()).ok();
        if let Some(spool) = spool {
            spool.stop();
        }
        let left = scheduler.stop(grace);
        tracing::info!(unfinished = left, "stopping: attempts have ended");
        drop(runtime.block_on(async { tokio::time::timeout(grace, http_stopped).await }));
        janitor.stop();
        tasks.stop();
        store.close().context("failed to close the store")?;
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("stopped");
        Ok(())
    }
}

/// Who takes descriptions of event types, applications, endpoints and sources.
fn take_files(config: &Config, store: &Arc<Store>, api: &Api) -> anyhow::Result<Arc<Files>> {
    let files = Arc::new(Files::new(
        Arc::clone(store),
        Arc::clone(api.inbound()),
        config.delivery.https_only,
        settings::policy(config)?,
    ));
    files.restore_profiles().context("failed to read the store")?;
    api.set_declared(Arc::clone(&files) as Arc<dyn Declared>);
    Ok(files)
}

fn start_spool(config: &Config, store: &Arc<Store>) -> anyhow::Result<Option<Rounds>> {
    let Some(folder) = &config.inbound.spool else { return Ok(None) };
    spool::start(folder, Arc::clone(store), config.server.max_payload)
        .map(Some)
        .with_context(|| format!("failed to use the folder {} (inbound.spool)", folder.display()))
}

/// Runs a daemon until SIGTERM or SIGINT; a second one ends it at once with code 130.
///
/// # Errors
/// It cannot start or stop properly.
pub fn serve(
    loaded: &Loaded,
    overrides: &Overrides,
    ready: impl FnOnce(&Daemon),
) -> anyhow::Result<ExitCode> {
    settings::log(&loaded.config);
    let (reload, requests) = std::sync::mpsc::channel();
    let signals = signals::Signals::catch(reload.clone()).context("failed to catch signals")?;
    let daemon = Daemon::start(&loaded.config)?;
    let files = Arc::clone(&daemon.files);
    let reloader = Reloader::start(files, loaded, overrides, reload, requests)
        .context("failed to start the thread that reloads files")?;
    ready(&daemon);
    notify_ready::ready();
    signals.wait(notify_ready::watchdog_period());
    notify_ready::stopping();
    drop(reloader);
    daemon.stop()?;
    Ok(ExitCode::SUCCESS)
}
