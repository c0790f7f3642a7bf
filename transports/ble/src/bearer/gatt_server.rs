//! GATT as a bearer, from the server's side, through the descriptors that BlueZ gives for it.
//!
//! BlueZ has one descriptor for each characteristic, not for each client: what any client writes comes in one stream,
//! and before 5.69 one client's notifications may reach another. So one client is served at a time, and at both ends
//! pieces that do not open are taken for somebody else's.

use bluer::Adapter;
use bluer::gatt::local::{
    Application, ApplicationHandle, Characteristic, CharacteristicControl, CharacteristicControlEvent,
    CharacteristicNotify, CharacteristicNotifyMethod, CharacteristicRead, CharacteristicWrite,
    CharacteristicWriteMethod, Service, characteristic_control,
};
use bluer::gatt::{CharacteristicReader, CharacteristicWriter};
use bluer::{Address, Error, ErrorKind};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;

use super::gatt_client::{PIECE_MAX, VERSION};
use super::{Backend, Bearer, bearer};
use crate::{INFO, RX, SERVICE, TX};

/// The served application. Dropping it withdraws the service.
pub(crate) struct Server {
    _application: ApplicationHandle,
    rx: CharacteristicControl,
    tx: CharacteristicControl,
    reader: Option<CharacteristicReader>,
    writer: Option<CharacteristicWriter>,
}

/// BlueZ fails now and then to read an application that is being registered.
const ATTEMPTS: usize = 3;

impl Server {
    pub(crate) async fn start(adapter: &Adapter) -> bluer::Result<Self> {
        let mut failed = Error { kind: ErrorKind::Failed, message: "never tried".into() };
        for _ in 0..ATTEMPTS {
            let (rx, rx_handle) = characteristic_control();
            let (tx, tx_handle) = characteristic_control();
            let application = application(rx_handle, tx_handle);
            match adapter.serve_gatt_application(application).await {
                Ok(served) => return Ok(Self { _application: served, rx, tx, reader: None, writer: None }),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The next client that both listens and writes. `None`: the service is gone. Dropping the future loses nothing.
    pub(crate) async fn accept(&mut self) -> Option<(Bearer, Address)> {
        loop {
            if self.reader.is_some()
                && let Some(writer) = self.writer.take()
                && let Some(reader) = self.reader.take()
            {
                let address = reader.device_address();
                return Some((run(reader, writer), address));
            }
            tokio::select! {
                event = self.rx.next() => match event? {
                    CharacteristicControlEvent::Write(request) => self.reader = request.accept().ok(),
                    CharacteristicControlEvent::Notify(_) => {}
                },
                event = self.tx.next() => match event? {
                    CharacteristicControlEvent::Notify(writer) => self.writer = Some(writer),
                    CharacteristicControlEvent::Write(_) => {}
                },
            }
        }
    }
}

fn application(
    rx: bluer::gatt::local::CharacteristicControlHandle,
    tx: bluer::gatt::local::CharacteristicControlHandle,
) -> Application {
    let read = CharacteristicRead {
        read: true,
        fun: Box::new(|_request| async { Ok(vec![VERSION]) }.boxed()),
        ..CharacteristicRead::default()
    };
    let write = CharacteristicWrite {
        write_without_response: true,
        method: CharacteristicWriteMethod::Io,
        ..CharacteristicWrite::default()
    };
    let notify = CharacteristicNotify {
        notify: true,
        method: CharacteristicNotifyMethod::Io,
        ..CharacteristicNotify::default()
    };
    let characteristics = vec![
        Characteristic { uuid: INFO, read: Some(read), ..Characteristic::default() },
        Characteristic { uuid: RX, write: Some(write), control_handle: rx, ..Characteristic::default() },
        Characteristic { uuid: TX, notify: Some(notify), control_handle: tx, ..Characteristic::default() },
    ];
    let service = Service { uuid: SERVICE, primary: true, characteristics, ..Service::default() };
    Application { services: vec![service], ..Application::default() }
}

fn run(reader: CharacteristicReader, writer: CharacteristicWriter) -> Bearer {
    let piece_max = reader.mtu().min(writer.mtu()).min(PIECE_MAX);
    let (front, Backend { from, to, end: _ }) = bearer(piece_max, true);
    tokio::spawn(async move {
        tokio::select! {
            () = read(&reader, to) => {}
            () = write(&writer, from) => {}
        }
    });
    front
}

async fn read(reader: &CharacteristicReader, to: mpsc::Sender<bytes::Bytes>) {
    while let Ok(piece) = reader.recv().await {
        // BlueZ ends the stream with an empty value when the client has gone.
        if piece.is_empty() {
            return;
        }
        if to.send(piece.into()).await.is_err() {
            // The bearer is dropped: what it had queued is still written.
            std::future::pending::<()>().await;
        }
    }
}

async fn write(writer: &CharacteristicWriter, mut from: mpsc::Receiver<bytes::Bytes>) {
    while let Some(piece) = from.recv().await {
        if writer.send(&piece).await.is_err() {
            return;
        }
    }
}
