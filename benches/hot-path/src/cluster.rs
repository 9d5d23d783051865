//! The monitor and the OSD together.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::daemon::{self, Daemon};
use crate::monitor::Monitor;
use crate::osd::Osd;

/// A running cluster. It ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    monitor: SocketAddr,
    osd: Arc<Osd>,
    _tasks: Tasks,
}

#[derive(Debug)]
struct Tasks([AbortHandle; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Cluster {
    /// Starts one on this machine's loopback.
    ///
    /// # Errors
    /// If there are no ports.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn start() -> std::io::Result<Self> {
        let monitor = TcpListener::bind("127.0.0.1:0").await?;
        let osd = TcpListener::bind("127.0.0.1:0").await?;
        let addr = monitor.local_addr()?;
        let osd_addr = osd.local_addr()?;
        let served = Arc::new(Osd::default());
        let tasks = [
            tokio::spawn(serve(monitor, Arc::new(Monitor::new(addr, osd_addr)))).abort_handle(),
            tokio::spawn(serve(osd, Arc::clone(&served))).abort_handle(),
        ];
        Ok(Self {
            monitor: addr,
            osd: served,
            _tasks: Tasks(tasks),
        })
    }

    /// What to give as `mon_host`. Authentication is `none`.
    pub fn mon_host(&self) -> String {
        format!("v2:{}", self.monitor)
    }

    /// What the client has asked for that this cluster does not know, or not like; empty if all is well.
    pub fn complaints(&self) -> Vec<String> {
        self.osd.complaints()
    }
}

async fn serve<D: Daemon>(listener: TcpListener, daemon: Arc<D>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, from)) = listener.accept().await {
        let daemon = Arc::clone(&daemon);
        clients.spawn(async move { daemon::serve(stream, from, daemon.as_ref()).await });
    }
}
