// The public name of an account.
import { Problem } from "../shared/http";
import { text, type TextId } from "../shared/texts";

export const MAX_HANDLE_LENGTH = 24;

/** The refusals of the API that are about the handle, with their messages. */
const MESSAGES: Partial<Record<string, TextId>> = {
  handle_taken: "account.handle_taken",
  too_many_handles: "account.too_many_handles",
};

/** What was typed, as the API stores it. */
export function handleOf(typed: string): string {
  return typed.trim().toLowerCase();
}

/** Performs a request. Its refusal of the handle is thrown as an error of the field `handle`. */
export async function besideHandle<T>(request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    const known = error instanceof Problem ? MESSAGES[error.code] : undefined;
    if (!(error instanceof Problem) || !known) throw error;
    const errors = [{ field: "handle", message: text(known) }];
    throw new Problem(error.status, { ...error.body, errors });
  }
}
