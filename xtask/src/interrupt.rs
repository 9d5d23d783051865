//! Being asked to stop, by the terminal or by a signal: noted, so that everything is taken down in
//! order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

/// Whether this process has been asked to stop.
#[derive(Clone)]
pub(crate) struct Interrupt {
    is_asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on, `SIGINT`, `SIGTERM` and `SIGHUP` are noted instead of ending this process.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let is_asked = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        drop(guard);
        let noted = Arc::clone(&is_asked);
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                noted.store(true, Ordering::Relaxed);
                // Later ones are swallowed: taking down is under way.
                std::future::pending::<()>().await;
            });
        });
        Ok(Self { is_asked })
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Fails when this process has been asked to stop.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.is_asked() {
            bail!("interrupted");
        }
        Ok(())
    }
}
