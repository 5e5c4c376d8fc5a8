//! The word that what runs for long shall end.

use tokio::sync::watch;

/// Waits until it says so, or nobody is left who could.
pub async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
