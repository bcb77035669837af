/** A stream on the page. */

import { useEffect, useRef } from 'preact/hooks';

/** What to show. */
export interface VideoProps {
  readonly stream: MediaStream;
  /** The own picture makes no sound and is shown as in a mirror. */
  readonly own?: boolean;
  /** Without a picture the element still plays the sound. */
  readonly hidden: boolean;
}

/** Plays a stream. The name of the person stands beside it, so the element itself says nothing. */
export function Video({ stream, own = false, hidden }: VideoProps) {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const video = element.current;
    if (!video) return;
    video.srcObject = stream;
    video.muted = own;
    // The person clicked to join, which is what browsers want before they play sound.
    video.play().catch(() => {});
  }, [stream, own]);
  const classes = ['video', own && 'mirrored', hidden && 'unseen'].filter(Boolean).join(' ');
  return <video ref={element} class={classes} autoplay playsinline muted={own} aria-hidden="true" tabIndex={-1} />;
}
