//! A channel's receiver as the stream that an actor listens to.

use futures_util::stream::{Stream, poll_fn};
use tokio::sync::mpsc::UnboundedReceiver;

/// Everything that is sent, until the last sender is gone.
pub(crate) fn received<T: 'static>(mut receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + 'static {
    poll_fn(move |context| receiver.poll_recv(context))
}
