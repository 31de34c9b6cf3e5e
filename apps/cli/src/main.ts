console.log("jamba");
