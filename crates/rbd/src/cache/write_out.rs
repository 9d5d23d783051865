//! The task that writes out what is buffered of an image.

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::buffer::WriteOut;
use super::state::WriteBatch;
use crate::write::write_operation;
use crate::{Image, Result};

/// Writes out until nobody has the image any more, and then what is left.
pub(super) async fn run(image: Image) {
    let Some(write_back) = image.write_back() else {
        return;
    };
    let image = &image;
    let mut sent = FuturesUnordered::new();
    loop {
        let plan = write_back.plan(image.is_lock_in_doubt(), MAX_IN_FLIGHT - sent.len());
        for out in plan.outs {
            sent.push(write_out(image, out));
        }
        if plan.is_over && sent.is_empty() {
            return;
        }
        let is_sending = !sent.is_empty();
        tokio::select! {
            Some((out, result)) = sent.next(), if is_sending => {
                write_back.ended(&out, result);
                // What else has ended is dealt with together.
                while let Some(Some((out, result))) = sent.next().now_or_never() {
                    write_back.ended(&out, result);
                }
            }
            () = write_back.worked() => {}
            () = wait_until(plan.wake), if plan.wake.is_some() => {}
        }
    }
}

async fn wait_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        sleep_until(wake).await;
    }
}

async fn write_out(image: &Image, out: WriteOut<WriteBatch>) -> (WriteOut<WriteBatch>, Result<()>) {
    let result = send(image, &out).await;
    (out, result)
}

async fn send(image: &Image, out: &WriteOut<WriteBatch>) -> Result<()> {
    let object = out.batch.guard.object(out.object_no).await?;
    let operation = object.include(write_operation(&out.pieces, image.object_size()));
    let name = image.data_object(out.object_no);
    image.data_pool().execute(name.as_str(), operation).await?;
    Ok(())
}

/// Operations on the way at a time, all on different ranges.
const MAX_IN_FLIGHT: usize = 64;
