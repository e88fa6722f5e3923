//! Which processes were started, so that a daemon that comes after a kill can find them.
//!
//! A process id alone says nothing after a while: a row also has the start time in clock ticks and
//! the boot it belongs to, and only a process that matches all of them is ours to end.

use casemate_core::spiffe::SpiffeId;
use casemate_core::time::UnixTime;

use super::{Store, StoreError};

/// What a recorded process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceKind {
    Issuer,
    Gate,
    Vault,
}

impl InstanceKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Gate => "gate",
            Self::Vault => "vault",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Issuer, Self::Gate, Self::Vault]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A revoked ticket, a revoked subject, or both, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) at: UnixTime,
    pub(crate) jti: Option<String>,
    pub(crate) sub: Option<SpiffeId>,
}

impl Revocation {
    /// Whether nothing that it covers can be valid any more.
    pub(crate) const fn is_over(&self, now: UnixTime) -> bool {
        self.at.0.saturating_add(KEPT_SECONDS) < now.0
    }
}

/// One process that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) kind: InstanceKind,
    /// `enclosure.stage`, or the model of a vault.
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub(crate) start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot: String,
}

impl Store {
    /// Remembers a process before anything depends on it.
    pub(crate) fn add_instance(&self, instance: &Instance) -> Result<(), StoreError> {
        self.rows().execute(
            "INSERT OR REPLACE INTO instances (kind, name, pid, start_ticks, boot)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                instance.kind.as_str(),
                &instance.name,
                instance.pid,
                i64::try_from(instance.start_ticks).unwrap_or(i64::MAX),
                &instance.boot,
            ),
        )?;
        Ok(())
    }

    /// Forgets a process that is gone.
    pub(crate) fn remove_instance(&self, kind: InstanceKind, name: &str) -> Result<(), StoreError> {
        self.rows().execute(
            "DELETE FROM instances WHERE kind = ?1 AND name = ?2",
            (kind.as_str(), name),
        )?;
        Ok(())
    }

    /// Every process that was started and not yet seen to be gone.
    pub(crate) fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        let rows = self.rows();
        let mut statement =
            rows.prepare("SELECT kind, name, pid, start_ticks, boot FROM instances")?;
        let found = statement.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i32>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, String>(4)?,
            ))
        })?;
        let mut instances = Vec::new();
        for row in found {
            let (kind, name, pid, start_ticks, boot) = row?;
            // A kind written by a later version: not ours to touch.
            let Some(kind) = InstanceKind::parse(&kind) else {
                continue;
            };
            let start_ticks = start_ticks.unsigned_abs();
            instances.push(Instance {
                kind,
                name,
                pid,
                start_ticks,
                boot,
            });
        }
        Ok(instances)
    }

    /// Remembers a revocation for as long as anything it covers can be valid.
    pub(crate) fn add_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let UnixTime(at) = revocation.at;
        let rows = self.rows();
        rows.execute(
            "DELETE FROM revocations WHERE time < ?1",
            [seconds(at.saturating_sub(KEPT_SECONDS))],
        )?;
        rows.execute(
            "INSERT INTO revocations (time, jti, sub) VALUES (?1, ?2, ?3)",
            (
                seconds(at),
                revocation.jti.as_deref(),
                revocation.sub.as_ref().map(ToString::to_string),
            ),
        )?;
        Ok(())
    }

    /// Every revocation that may still cover something. One that cannot be read is an error: leaving
    /// it out would let in whom it shuts out.
    pub(crate) fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        let rows = self.rows();
        let mut statement = rows.prepare("SELECT time, jti, sub FROM revocations ORDER BY time")?;
        let found = statement.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, Option<String>>(2)?,
            ))
        })?;
        let mut revocations = Vec::new();
        for row in found {
            let (at, jti, sub) = row?;
            revocations.push(Revocation {
                at: UnixTime(at.unsigned_abs()),
                jti,
                sub: sub.map(|sub| sub.parse()).transpose()?,
            });
        }
        Ok(revocations)
    }

    /// How many tickets were issued, by the chain of receipts.
    pub(crate) fn ticket_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self.rows().query_row(
            "SELECT COUNT(*) FROM receipts WHERE json ->> 'kind' = 'ticket-issued'",
            [],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// The oldest epoch of a model that may still be opened here: the newest one seen.
    pub(crate) fn minimum_epoch(&self, model: &str) -> Result<u64, StoreError> {
        use rusqlite::OptionalExtension as _;
        let epoch: Option<i64> = self
            .rows()
            .query_row(
                "SELECT epoch FROM epochs WHERE model = ?1",
                [model],
                |row| row.get(0),
            )
            .optional()?;
        Ok(epoch.unwrap_or(0).unsigned_abs())
    }

    /// Remembers that `epoch` of a model was opened; never goes back.
    pub(crate) fn raise_epoch(&self, model: &str, epoch: u64) -> Result<(), StoreError> {
        self.rows().execute(
            "INSERT INTO epochs (model, epoch) VALUES (?1, ?2)
             ON CONFLICT (model) DO UPDATE SET epoch = MAX(epoch, excluded.epoch)",
            (model, i64::try_from(epoch).unwrap_or(i64::MAX)),
        )?;
        Ok(())
    }
}

/// Longer than any certificate of a person lives.
const KEPT_SECONDS: u64 = 2 * 24 * 3600;
