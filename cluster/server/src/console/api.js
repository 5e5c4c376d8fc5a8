// Requests to the node. Addresses count from the folder above the page, so that a proxy may serve it under a prefix. The bearer token,
// where the node asks for one, lives in this object and nowhere else: a reload asks again.

const TIMEOUT_MS = 15_000;
const ROOT = new URL("../", document.baseURI);

/** An answer that is a no, or none at all. */
export class ApiError extends Error {
  /**
   * @param {number} status 0: no answer came
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** The node was reached. */
  get answered() {
    return this.status !== 0;
  }
}

/**
 * What is asked for, or null and the sentence where another node of the cluster tells it, at an address that this one does not know.
 *
 * @template T
 * @param {Promise<T>} answer
 * @returns {Promise<[T, ""] | [null, string]>}
 */
export async function here(answer) {
  try {
    return [await answer, ""];
  } catch (error) {
    if (error instanceof ApiError && error.code === "not_leader") return [null, error.message];
    throw error;
  }
}

export class Api {
  /** @type {string | null} */
  #token = null;
  /** @type {Promise<string | null> | null} */
  #asking = null;
  #askToken;

  /** @param {(wrong: boolean) => Promise<string | null>} askToken asks the person; null: no token is to be had */
  constructor(askToken) {
    this.#askToken = askToken;
  }

  /**
   * @param {string} path from the root, without a slash
   * @returns {Promise<any>}
   */
  async get(path) {
    return (await this.#send(path, "GET")).json();
  }

  /**
   * The text of an answer, as it came.
   *
   * @param {string} path
   */
  async text(path) {
    return (await this.#send(path, "GET")).text();
  }

  /**
   * @param {string} path
   * @param {unknown} [body] JSON; nothing is sent where there is none
   * @returns {Promise<any>}
   */
  async post(path, body) {
    return (await this.#send(path, "POST", body)).json();
  }

  /**
   * @param {string} path
   * @param {string} method
   * @param {unknown} [body]
   * @returns {Promise<Response>}
   */
  async #send(path, method, body) {
    const used = this.#token;
    const response = await this.#once(path, method, body);
    if (response.status !== 401) return this.#judge(response);
    // several requests may have met the same no: one question, and whoever comes late takes its answer
    if (this.#token === used) {
      this.#asking ??= this.#askToken(used !== null).finally(() => (this.#asking = null));
      const given = await this.#asking;
      if (given === null) return this.#judge(response);
      this.#token = given;
    }
    return this.#judge(await this.#once(path, method, body));
  }

  /**
   * @param {string} path
   * @param {string} method
   * @param {unknown} body
   */
  async #once(path, method, body) {
    /** @type {Record<string, string>} */
    const headers = { accept: "*/*" };
    if (this.#token !== null) headers.authorization = `Bearer ${this.#token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    try {
      const wish = /** @type {RequestInit} */ ({ method, headers, signal, body: JSON.stringify(body), cache: "no-store", credentials: "omit" });
      return await fetch(new URL(path, ROOT), wish);
    } catch (error) {
      const late = error instanceof DOMException && error.name === "TimeoutError";
      throw new ApiError(
        0,
        "unreachable",
        late ? "the node gave no answer in 15 seconds" : "the node cannot be reached",
      );
    }
  }

  /** @param {Response} response */
  async #judge(response) {
    if (response.ok) return response;
    const text = await response.text().catch(() => "");
    try {
      const body = JSON.parse(text);
      return Promise.reject(new ApiError(response.status, String(body.code), String(body.error)));
    } catch {
      return Promise.reject(
        new ApiError(response.status, "unknown", `the answer was ${response.status} ${response.statusText}`),
      );
    }
  }
}
