// Reads a document as JSON and prints its errors against the Gateway API's schema. The argument is
// the folder of the npm packages.
import { readFileSync } from "node:fs";

const document = JSON.parse(readFileSync(0, "utf8"));
const models = `${process.argv[2]}/node_modules/@kubernetes-models/gateway-api`;
const { [document.kind]: Model } = await import(`${models}/${document.apiVersion}/${document.kind}.js`);
try {
  new Model(document).validate();
} catch (fault) {
  console.log(fault.message);
}
