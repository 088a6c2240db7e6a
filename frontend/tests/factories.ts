// Rows of the API for tests.
import type { Ticket } from "../assets/src/shared/api-types";

let lastId = 0;

/** An available ticket of EUR 45.00. */
export function ticket(members: Partial<Ticket> = {}): Ticket {
  lastId += 1;
  return {
    id: `ticket-${lastId}`,
    show_id: "show",
    seller_id: "seller",
    seller_handle: "ana",
    title: null,
    section: "Balcony",
    row: null,
    seat: null,
    price: 4500,
    face_value: null,
    currency: "EUR",
    status: "available",
    held_until: null,
    seconds_left: null,
    hidden: false,
    version: 1,
    created_at: "",
    updated_at: "",
    ...members,
  };
}
