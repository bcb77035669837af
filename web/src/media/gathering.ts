/** Waiting for the candidates of a connection. */

/** How long candidates are waited for, so that most travel in the description. */
const GATHER_TIME = 50;

/** Resolves when all candidates are gathered, or enough time has passed. */
export function gathered(connection: RTCPeerConnection): Promise<void> {
  if (connection.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      connection.removeEventListener('icegatheringstatechange', check);
      resolve();
    };
    const check = (): void => {
      if (connection.iceGatheringState === 'complete') done();
    };
    const timer = setTimeout(done, GATHER_TIME);
    connection.addEventListener('icegatheringstatechange', check);
  });
}
