//! [`LoginCache`]: a store's login. All reads share it; when it fails, the cache makes one new login.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::StoreError;

/// The current login of one store.
pub(super) struct LoginCache<L>(Mutex<Option<Arc<L>>>);

impl<L> Default for LoginCache<L> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<L> LoginCache<L> {
    /// The login to use: `next` makes it from the current one. Other callers wait for it.
    pub(super) async fn current<F>(&self, next: impl FnOnce(Option<Arc<L>>) -> F) -> Result<Arc<L>, StoreError>
    where
        F: Future<Output = Result<Arc<L>, StoreError>>,
    {
        let mut held = self.0.lock().await;
        let fresh = next(held.clone()).await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// The current login, or one that `make` makes, for libraries that renew their login themselves.
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
    pub(super) async fn kept<F>(&self, make: impl FnOnce() -> F) -> Result<Arc<L>, StoreError>
    where
        F: Future<Output = Result<L, StoreError>>,
    {
        let next = |held: Option<Arc<L>>| async {
            match held {
                Some(held) => Ok(held),
                None => make().await.map(Arc::new),
            }
        };
        self.current(next).await
    }

    /// Drops a login, unless there is a newer one already: if it fails for many reads, only one logs in again.
    pub(super) async fn give_up(&self, failed: &Arc<L>) {
        let mut held = self.0.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, failed)) {
            *held = None;
        }
    }
}

/// Reads with the current login. If the store no longer accepts it, reads once more with a new one.
macro_rules! with_login {
    ($self:expr, $login:ident => $read:expr, unless $refused:expr) => {{
        let $login = $self.login().await.map_err($crate::stores::StoreError::in_login)?;
        match $read.await {
            Err(error) if $refused(&error) => {
                $self.logins.give_up(&$login).await;
                let $login = $self.login().await.map_err($crate::stores::StoreError::in_login)?;
                $read.await
            }
            outcome => outcome,
        }
    }};
}
pub(super) use with_login;
