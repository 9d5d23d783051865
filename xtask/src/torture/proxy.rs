//! What stands between the clients and a daemon, and what it can do to them.

mod pump;
mod rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use minicluster::Daemon;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::network::Network;
use rules::Control;
pub(super) use rules::{Rules, Struck};

/// One for every daemon, at all ports that the daemon may have.
pub(super) struct Proxies {
    controls: BTreeMap<Daemon, Arc<Control>>,
    /// Carries all connections; what is left of them ends with it.
    runtime: Option<Runtime>,
}

impl Proxies {
    /// Listens in the clients' network at the addresses of the daemons, and passes on to the daemons in
    /// this process's network.
    pub(super) fn start(
        network: &Network,
        ip: IpAddr,
        ports: &[(Daemon, Vec<u16>)],
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let mut controls = BTreeMap::new();
        for (daemon, ports) in ports {
            let control = Arc::new(Control::default());
            let addresses: Vec<SocketAddr> = ports
                .iter()
                .map(|port| SocketAddr::new(ip, *port))
                .collect();
            let listeners = network.listen(addresses.clone())?;
            for (listener, address) in listeners.into_iter().zip(addresses) {
                listener.set_nonblocking(true)?;
                let guard = runtime.enter();
                let listener = TcpListener::from_std(listener)?;
                drop(guard);
                runtime.spawn(accept(listener, address, Arc::clone(&control)));
            }
            controls.insert(*daemon, control);
        }
        Ok(Self {
            controls,
            runtime: Some(runtime),
        })
    }

    /// From now on connections to this daemon, those there are and new ones, are treated so.
    pub(super) fn set(&self, daemon: Daemon, rules: Rules) -> anyhow::Result<()> {
        self.control(daemon)?.set(rules);
        Ok(())
    }

    /// Ends all connections to this daemon that there are, with a reset.
    pub(super) fn reset(&self, daemon: Daemon) -> anyhow::Result<()> {
        self.control(daemon)?.reset();
        Ok(())
    }

    /// How often the rules have struck since the last call.
    pub(super) fn struck(&self) -> Struck {
        let mut all = Struck::default();
        for control in self.controls.values() {
            all += control.take_struck();
        }
        all
    }

    fn control(&self, daemon: Daemon) -> anyhow::Result<&Control> {
        let control = self.controls.get(&daemon).map(Arc::as_ref);
        control.with_context(|| format!("there is no proxy for {daemon}"))
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, control: Arc<Control>) {
    loop {
        // Errors are those of connections that were gone before they were accepted.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            control.wait_to_accept().await;
            match TcpStream::connect(upstream).await {
                Ok(daemon) => pump::run(client, daemon, &control).await,
                // As the daemon's own machine would have said.
                Err(_) => drop(client.set_zero_linger()),
            }
        });
    }
}
