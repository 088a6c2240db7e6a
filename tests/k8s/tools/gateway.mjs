// Reads a document as JSON and says what the Gateway API's schema has against it. The argument is where packages are.
import { readFileSync } from "node:fs";

const document = JSON.parse(readFileSync(0, "utf8"));
const models = `${process.argv[2]}/node_modules/@kubernetes-models/gateway-api`;
const { [document.kind]: Model } = await import(`${models}/${document.apiVersion}/${document.kind}.js`);
try {
  new Model(document).validate();
} catch (fault) {
  console.log(fault.message);
}
