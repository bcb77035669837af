//! The device key file: one device's private state, where only its owner can read it.

use std::{
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use thiserror::Error;
use zeroize::Zeroizing;

use conclave_shared::identity::device::{Device, DevicePickle};

/// Bytes of a key file at most: a device with all its one-time keys is under 20 KiB.
const FILE_LENGTH: u64 = 256 * 1024;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Others on this machine can read the file, so its key may be known.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600` on it, or remove it to make a new device")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path} is not a device key file; name another one, or remove it to make a new device")]
    NotADevice {
        /// The file.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// No device could be made.
    #[error("the system's random generator failed")]
    Random,
}

/// Where a device is kept. Clones name the same place.
#[derive(Clone, Debug)]
pub struct Store(Place);

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Memory(Arc<Mutex<Option<DevicePickle>>>),
}

impl Store {
    /// A file; nothing is read or written yet.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// The memory of this process: the device outlives a connection and nothing more.
    #[must_use]
    pub fn memory() -> Self {
        Self(Place::Memory(Arc::default()))
    }

    /// Reads the device, or makes one and stores it when there is none yet.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn open(&self) -> Result<Device, StoreError> {
        if let Some(pickle) = self.load()? {
            return Device::from_pickle(&pickle).map_err(|_| StoreError::NotADevice { path: self.path() });
        }
        let device = Device::generate().map_err(|_| StoreError::Random)?;
        self.save(&device.pickle())?;
        Ok(device)
    }

    /// Reads what was stored; `None` when nothing was.
    ///
    /// # Errors
    /// [`StoreError::Exposed`], [`StoreError::NotADevice`], [`StoreError::Read`].
    pub fn load(&self) -> Result<Option<DevicePickle>, StoreError> {
        match &self.0 {
            Place::File(path) => read_whole(path),
            Place::Memory(pickle) => Ok(pickle.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// Replaces what is stored, in one step: after a crash the file holds the old device or the new one, never half.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn save(&self, pickle: &DevicePickle) -> Result<(), StoreError> {
        match &self.0 {
            Place::File(path) => replace(path, pickle),
            Place::Memory(kept) => {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(pickle.clone());
                Ok(())
            }
        }
    }

    fn path(&self) -> PathBuf {
        match &self.0 {
            Place::File(path) => path.clone(),
            Place::Memory(_) => PathBuf::new(),
        }
    }
}

fn read_whole(path: &Path) -> Result<Option<DevicePickle>, StoreError> {
    let failed = |reason| StoreError::Read { path: path.to_owned(), reason };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > FILE_LENGTH {
        return Err(StoreError::NotADevice { path: path.to_owned() });
    }
    check_mode(path, &metadata)?;
    let mut text = Zeroizing::new(String::new());
    match file.take(FILE_LENGTH).read_to_string(&mut text) {
        Ok(_) => Ok(Some(DevicePickle::from_text(text.trim_end().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StoreError::NotADevice { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

// Other systems have no such bits: their access lists come with the user's own folder.
#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), StoreError> {
    Ok(())
}

fn replace(path: &Path, pickle: &DevicePickle) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    write_whole(&new, path, pickle).map_err(|reason| {
        let _ = fs::remove_file(&new);
        StoreError::Write { path: path.to_owned(), reason }
    })
}

fn write_whole(new: &Path, path: &Path, pickle: &DevicePickle) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    // Left over from a crash of a process with the same number.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(new)?;
    file.write_all(pickle.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(new, path)?;
    // The new name must survive a power cut too. Not every file system lets a directory be synced.
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let _ = fs::File::open(parent).and_then(|directory| directory.sync_all());
    }
    Ok(())
}
