/** Where things are. */

import { fileURLToPath } from 'node:url';

/** The root of the repository, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Where cargo puts what it builds. */
export const TARGET = process.env['CARGO_TARGET_DIR'] ?? `${ROOT}target`;
/** The page as people get it, and the laboratory beside it. */
export const PAGE = `${TARGET}/browser/page`;
/** What a person looks at after the run. */
export const SCREENSHOTS = `${TARGET}/screenshots`;
/** The browsers. */
export const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
export const FIREFOX = process.env['FIREFOX'] ?? '/usr/bin/firefox-esr';
