/** Symbols, drawn with the text's colour. Always beside words or in a labelled button, so hidden from screen readers. */

const PATHS = {
  mic: 'M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3Zm6-3a6 6 0 0 1-12 0M12 18v3',
  micOff: 'M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3Zm6-3a6 6 0 0 1-12 0M12 18v3M4 4l16 16',
  camera: 'M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2Zm11 4 6-3v8l-6-3',
  cameraOff: 'M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2Zm11 4 6-3v8l-6-3M3 4l17 16',
  leave: 'M3 14c0-3 4-5 9-5s9 2 9 5v2l-5-1v-2.5a13 13 0 0 0-8 0V15l-5 1Z',
  lock: 'M6 11h12v9H6Zm3 0V8a3 3 0 0 1 6 0v3',
  crown: 'm4 18 0-9 4.5 4L12 6l3.5 7L20 9v9Z',
  link: 'M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17',
  key: 'M8 20a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm3-7 9-9m-4 4 3 3m-6 0 2 2',
  bot: 'M5 9h14v10H5Zm7-5v5M9 13.5v.1M15 13.5v.1M9.5 16.5h5',
  record: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Zm0-5a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7Zm-6.5 9c0-4 3-6 6.5-6s6.5 2 6.5 6M16 4.5a3.5 3.5 0 0 1 0 6.2M18 14.6c2.2.8 3.5 2.6 3.5 5.4',
  warning: 'M12 4 2.5 20h19Zm0 6v5m0 2.4v.1',
} as const;

/** One symbol. */
export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark of the project. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="9" />
      <path d="M21.6 20.4a7 7 0 1 1 0-8.8" />
      <circle cx="16" cy="16" r="2.4" />
    </svg>
  );
}
