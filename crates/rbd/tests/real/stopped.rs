//! A client that stands still: it neither reads nor writes nor keeps anything alive, as a process does
//! that is stopped, and its connections stay open.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::support::*;

/// A client with one thread of its own for everything.
pub(crate) struct Stopped<T> {
    resume: mpsc::Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Stopped<T> {
    /// Connects with these options, does `before`, stands still, and does `after` as soon as it may go
    /// on, before any of its tasks notices that time has passed.
    pub(crate) async fn start<S, Before, After>(
        options: &'static [(&'static str, &'static str)],
        before: impl FnOnce(rados::Cluster) -> Before + Send + 'static,
        after: impl FnOnce(S) -> After + Send + 'static,
    ) -> Self
    where
        Before: Future<Output = S>,
        After: Future<Output = T>,
    {
        let conf = blocking(|| cluster().conf_path());
        let (resume, resumed) = mpsc::channel();
        let (standing, stands) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let connection = connect_with(&conf, "admin", options).await;
                let state = before(connection).await;
                standing.send(()).unwrap();
                // Blocks the only thread there is.
                let _ = resumed.recv();
                after(state).await
            })
        });
        stands.await.unwrap();
        Self { resume, thread }
    }

    /// Lets it go on, and gives what came of that.
    pub(crate) fn resume(self) -> T {
        self.resume.send(()).unwrap();
        blocking(|| self.thread.join()).unwrap()
    }
}
