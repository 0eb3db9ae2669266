//! Takes what the processor sends by itself: whether it is the processor's, and then each thing that it tells.

use std::sync::Arc;

use axum::http::HeaderMap;
use thiserror::Error;

use super::payments::{PaymentError, Payments};
use crate::{
    processor::{Forged, ReadNotifications},
    proto::payment::Notification,
};

/// Counts a notification of a processor by what became of it.
pub type Count = Arc<dyn Fn(&str, &'static str) + Send + Sync>;

/// The way in for the processor's notifications; cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    /// Which processor's, and who reads them; nothing where none are expected.
    reader: Option<(&'static str, Arc<dyn ReadNotifications>)>,
    payments: Payments,
    count: Count,
}

/// Why a request is not accepted.
#[derive(Debug, Error)]
pub enum NotTaken {
    /// Nothing is expected from this processor.
    #[error("no notifications of this processor are expected")]
    NotExpected,
    /// It is not the processor's.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// It could not be made durable: it has to be sent again.
    #[error(transparent)]
    NotRecordable(#[from] PaymentError),
}

impl Notifications {
    /// `reader` is the configured processor's.
    #[must_use]
    pub fn new(
        reader: Option<(&'static str, Arc<dyn ReadNotifications>)>,
        payments: Payments,
        count: Count,
    ) -> Self {
        Self {
            reader,
            payments,
            count,
        }
    }

    /// Whether everything that the request tells is durable now.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn take(
        &self,
        processor: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), NotTaken> {
        let reader = self.reader.as_ref().filter(|(name, _)| *name == processor);
        let (name, reader) = reader.ok_or(NotTaken::NotExpected)?;
        let told = reader.read(headers, body, jiff::Timestamp::now());
        let told = told.inspect_err(|_| (self.count)(name, "forged"))?;
        // A task of its own: what has begun ends, whoever hangs up.
        let (name, this) = (*name, self.clone());
        let taken = tokio::spawn(async move { this.take_all(name, told).await });
        let broke_off = || PaymentError::NotRecordable("it broke off".to_owned());
        Ok(taken.await.map_err(|_| broke_off())??)
    }

    async fn take_all(
        &self,
        name: &'static str,
        told: Vec<Option<Notification>>,
    ) -> Result<(), PaymentError> {
        let mut all = Ok(());
        for told in told {
            let Some(told) = told else {
                (self.count)(name, "not-ours");
                continue;
            };
            match self.payments.notified(told).await {
                Ok(taken) => (self.count)(name, taken.as_str()),
                Err(error) => {
                    tracing::error!(%error, "a notification cannot be recorded; it is to be sent again");
                    (self.count)(name, "failed");
                    all = Err(error);
                }
            }
        }
        all
    }
}
