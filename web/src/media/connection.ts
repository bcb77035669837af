/** Peer connections that are closed by default. */

import { keepAllowedCodecs } from './codecs.ts';

/** Connections that send nothing of a sender that is not protected, even if that is done late. */
const closedByDefault = new WeakSet<RTCPeerConnection>();

/** Whether {@link makeConnection} made this one. */
export function isClosedByDefault(connection: RTCPeerConnection): boolean {
  return closedByDefault.has(connection);
}

/** Makes a connection that sends nothing unless it is protected, and to which no other codec can be negotiated. */
export function makeConnection(config: RTCConfiguration): RTCPeerConnection {
  // Chromium ignores a transform that is set late, and sends plaintext; with this member it sends nothing.
  const closed = { ...config, encodedInsertableStreams: true };
  const connection = new RTCPeerConnection(closed);
  closedByDefault.add(connection);
  const set = connection.setRemoteDescription.bind(connection);
  // Descriptions of some browsers hold lines that others refuse, so whoever signals them need not know of it.
  connection.setRemoteDescription = async (description) => set({ type: description.type, sdp: keepAllowedCodecs(description.sdp ?? '') });
  return connection;
}
